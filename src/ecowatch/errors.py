"""The error family: one root, each error also the built-in it resembles.

A message names the thing, what was found and what would be right, so that the reader of a morning mail can act on
the line alone: ``SCENE_TRUNCATED scenes/a.tif: 12 of 40 blocks lie beyond the end of the file; fetch it again``.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells cron, SLURM or Kubernetes; the numbers follow sysexits where one exists."""

    DONE = 0
    USAGE = 2
    PARTIAL = 3
    BAD_INPUT = 65
    UNAVAILABLE = 69
    CANNOT_WRITE = 73
    TRY_AGAIN = 75
    BAD_CONFIG = 78
    INTERRUPTED = 130


class EcowatchError(Exception):
    """Root of everything ecowatch raises on purpose.

    Parameters
    ----------
    code
        Stable name of the finding, upper case, e.g. ``SCENE_TRUNCATED``.
    where
        The file, key, scene or area concerned.
    finding
        What is wrong, with the measured figure where there is one.
    remedy
        What would be right, or what to do next.
    """

    exit_code: ExitCode = ExitCode.BAD_INPUT

    def __init__(self, code: str, where: object, finding: str, remedy: str) -> None:
        super().__init__(code, str(where), finding, remedy)
        self.code = code
        self.where = str(where)
        self.finding = finding
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.code} {self.where}: {self.finding}; {self.remedy}"


class ConfigError(EcowatchError, ValueError):
    """A settings file that cannot be understood: an unknown key, a wrong value, a missing path."""

    exit_code = ExitCode.BAD_CONFIG


class IntakeError(EcowatchError, OSError):
    """A file from outside that may not or cannot be opened."""

    # OSError sets its own __str__ for two or more arguments; the family's wording must win.
    __str__ = EcowatchError.__str__


class SceneError(EcowatchError, OSError):
    """A scene that cannot be trusted; it is quarantined and the review goes on."""

    __str__ = EcowatchError.__str__


class BoundaryError(EcowatchError, ValueError):
    """A boundary layer that cannot be read or placed; without it there is nothing to review."""


class PairError(EcowatchError, ValueError):
    """Two dates that cannot be compared: too few common bands, too few valid pixels, too large a shift."""


class GridError(EcowatchError, ValueError):
    """A pixel grid that cannot serve: no CRS, rotated, or of no extent."""


class StorageError(EcowatchError, OSError):
    """A product that cannot be written."""

    exit_code = ExitCode.CANNOT_WRITE
    __str__ = EcowatchError.__str__


class UnavailableError(EcowatchError, ConnectionError):
    """Something outside that a run needs does not answer."""

    exit_code = ExitCode.UNAVAILABLE
    __str__ = EcowatchError.__str__


class LedgerError(EcowatchError, ValueError):
    """A ledger that is damaged, of another version, or asked for what its rules do not allow."""


class LockedError(EcowatchError, BlockingIOError):
    """Another writer holds the ledger, or has taken it over; try again."""

    exit_code = ExitCode.TRY_AGAIN
    __str__ = EcowatchError.__str__
