"""What is kept from run to run, sealed: a file that rotted on the disk is computed again, never taken for a result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..atomic import damaged_error, lost_error, write_text
from ..digests import sha256_of
from .fit import Fit
from .pair import Comparison
from .plan import Plan, fit_file, work_folder


def fit_path(plan: Plan, comparison: Comparison) -> Path:
    """Return where the fit of a comparison is kept."""
    return work_folder(plan.review) / fit_file(comparison)


def seal_path(plan: Plan, comparison: Comparison) -> Path:
    """Return where the seal of a comparison's fit and tiles lies."""
    return fit_path(plan, comparison).with_name(f"_DONE.{comparison.key[:20]}.json")


def read_fit(path: Path) -> Fit:
    """Return a fit that is kept.

    Raises
    ------
    StorageError
        ``KEPT_LOST`` where it is not there, ``KEPT_DAMAGED`` where it is no fit.
    """
    try:
        return Fit.from_json(path.read_text("utf-8"))
    except OSError as error:
        raise lost_error(path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged_error(path, error) from error


class KeptFits(Mapping[int, Fit]):
    """The fits of a plan that are there, by the number of their comparison.

    Each is read when it is asked for and only the last is remembered: ten thousand fits take more memory than the areas
    that they are of.

    Parameters
    ----------
    plan
        What was to be fitted.

    Raises
    ------
    StorageError
        ``KEPT_LOST`` where a fit is asked for that was there and is not any more, ``KEPT_DAMAGED`` where it is no fit.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._there = bytes(fit_path(plan, comparison).exists() for comparison in plan.comparisons)
        self._last: tuple[int, Fit] | None = None

    def __getitem__(self, number: int) -> Fit:
        if number not in self:
            raise KeyError(number)
        if self._last is None or self._last[0] != number:
            self._last = number, read_fit(fit_path(self._plan, self._plan.comparisons[number]))
        return self._last[1]

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and 0 <= number < len(self._there) and bool(self._there[number])

    def __iter__(self) -> Iterator[int]:
        return (number for number, there in enumerate(self._there) if there)

    def __len__(self) -> int:
        return sum(self._there)


def seal(path: Path, files: Sequence[Path]) -> None:
    """Write down size and SHA-256 of finished files, as the last file of a stage: fsynced, renamed.

    Parameters
    ----------
    path
        The seal, named ``_DONE…json``, in the folder of the files.
    files
        Files of that folder.

    Raises
    ------
    StorageError
        ``CANNOT_WRITE``.
    """
    former = json.loads(path.read_text("utf-8")) if path.exists() else {}
    # Tiles of another size lie there too: they stay sealed.
    told = {name: was for name, was in former.items() if (path.parent / name).exists()}
    told |= {file.name: [file.stat().st_size, sha256_of(file)] for file in files}
    _write_seal(path, former, told)


def _write_seal(path: Path, former: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    if told != former:
        write_text(path, json.dumps(dict(sorted(told.items())), indent=1) + "\n")


def drop_damaged(path: Path) -> tuple[str, ...]:
    """Remove the files that are not as their seal says, so that they are computed again.

    Parameters
    ----------
    path
        The seal; where there is none, the stage never ended and each file stands for itself (written beside and renamed).

    Returns
    -------
    tuple of str
        Names of the files that were removed.
    """
    if not path.exists():
        return ()
    try:
        told = json.loads(path.read_text("utf-8"))
        damaged = [
            name for name, (size, digest) in told.items() if not _sound(path.parent / Path(name).name, size, digest)
        ]
    except (ValueError, TypeError, AttributeError):
        # A seal that cannot be read vouches for nothing.
        path.unlink()
        return (path.name,)
    for name in damaged:
        (path.parent / Path(name).name).unlink(missing_ok=True)
    # What is computed anew need not be the same to the byte: looks are taken in the tile or after it. The old seal must not
    # speak of it, nor of what was taken away.
    _write_seal(path, told, {name: was for name, was in told.items() if (path.parent / Path(name).name).exists()})
    return tuple(damaged)


def _sound(file: Path, size: int, digest: str) -> bool:
    return not file.exists() or (file.stat().st_size == size and sha256_of(file) == digest)
