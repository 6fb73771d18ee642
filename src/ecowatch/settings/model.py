"""What every settings model shares: frozen, unknown keys refused, paths relative to the file they stand in."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo


class Settings(BaseModel):
    """Base of all settings: a frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON of all values, defaults included."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _beside_file(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    if path.parts[:1] == ("s3:",):
        return path
    return path if base is None or path.is_absolute() else base / path


FilePath = Annotated[Path, AfterValidator(_beside_file)]
"""A path; relative ones count from the folder of the settings file. ``s3://bucket/key`` names an object of a store."""
