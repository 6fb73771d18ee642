"""Write a commented TOML file from the models, so that the shipped files can never disagree with the program."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from .load import settings_in
from .model import Settings


def commented_toml(settings: Settings, *, title: str) -> str:
    """Return `settings` as TOML with the description of each key as a comment above it.

    Parameters
    ----------
    settings
        Any settings value; keys that are None appear commented out.
    title
        First line of the file.
    """
    return "\n".join([f"# {title}", *_table(settings, prefix="")]) + "\n"


def _table(settings: BaseModel, prefix: str) -> Iterator[str]:
    nested = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if settings_in(field.annotation) is not None and value is not None and value != ():
            nested.append((name, value, field.description))
            continue
        yield f"\n# {field.description}"
        yield f"# {name} = …" if value is None else f"{name} = {_value(value)}"
    for name, value, description in nested:
        for item in value if isinstance(value, tuple) else (value,):
            header = f"[[{prefix}{name}]]" if isinstance(value, tuple) else f"[{prefix}{name}]"
            yield f"\n# {description}\n{header}"
            yield from _table(item, prefix=f"{prefix}{name}.")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Path):
        return _value(value.as_posix())
    if isinstance(value, str):
        # A literal string keeps backslashes of patterns readable; JSON's escapes are TOML's too.
        return f"'{value}'" if "\\" in value and "'" not in value else json.dumps(value, ensure_ascii=False)
    return repr(value)
