"""Read a TOML settings file into its model; every complaint names file, key and what would be right."""

from __future__ import annotations

import difflib
import tomllib
import typing
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ..errors import ConfigError
from .model import Settings

S = TypeVar("S", bound=Settings)


def load(model: type[S], path: Path) -> S:
    """Read `path` into `model`.

    Parameters
    ----------
    model
        ``Review``, ``Pipeline`` or ``Cluster``.
    path
        TOML file, UTF-8. Relative paths in it count from its folder.

    Raises
    ------
    ConfigError
        ``CONFIG_MISSING``, ``CONFIG_SYNTAX``, ``CONFIG_UNKNOWN_KEY`` (with the nearest known key) or ``CONFIG_VALUE``.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError("CONFIG_MISSING", path, "no such file", "check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("CONFIG_MISSING", path, f"it cannot be read ({error})", "give a UTF-8 TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("CONFIG_SYNTAX", path, str(error), "correct the line") from error
    try:
        return model.model_validate(values, context={"base": path.parent})
    except ValidationError as error:
        raise _as_config_error(path, model, error) from error


def _as_config_error(path: Path, model: type[Settings], error: ValidationError) -> ConfigError:
    details = sorted(error.errors(), key=lambda d: d["type"] != "extra_forbidden")
    first = details[0]
    key = _dotted(first)
    if first["type"] == "extra_forbidden":
        return ConfigError("CONFIG_UNKNOWN_KEY", path, f"unknown key '{key}'", _suggestion(model, first))
    if first["type"] == "missing":
        return ConfigError("CONFIG_VALUE", path, f"key '{key}' is missing", "'ecowatch config example' shows all keys")
    message = first["msg"].removeprefix("Value error, ")
    return ConfigError("CONFIG_VALUE", path, f"'{key}' = {first['input']!r}: {message}", "correct the value")


def _dotted(detail: ErrorDetails) -> str:
    text = ""
    for part in detail["loc"]:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "file"


def _suggestion(model: type[Settings], detail: ErrorDetails) -> str:
    inner: Any = model
    for part in detail["loc"][:-1]:
        if isinstance(part, str):
            inner = settings_in(inner.model_fields[part].annotation)
    names = list(inner.model_fields)
    close = difflib.get_close_matches(str(detail["loc"][-1]), names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(names)}"


def settings_in(annotation: Any) -> type[BaseModel] | None:
    """Return the settings model inside an annotation such as ``tuple[AreaSource, ...]`` or ``Output | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (settings_in(inner) for inner in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)
