"""The registry of a folder of labelled pairs: what each is, and which class of sensor made it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..errors import EcowatchError, IntakeError
from ..intake import FileKind, admit, read_json

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_FAR_M, _NEAR_M = 5.0, 1.0
_DEGREE_M = 111_195.0
_SPECTRAL = ("blue", "green", "red", "nir", "swir1", "swir2")
_QUALITY = ("scl", "valid")
# A rendering for water and burnt ground: a shortwave infrared band, near infrared, red. Told from the pixels: water is
# black in the first two, plants are brightest in the second.
_FALSE_COLOUR = ("swir1", "nir", "red")
_SCORES = ("pixels", "objects", "flagged_share")


class SensorClass(StrEnum):
    """Class of sensor; its value names the pipeline that serves it."""

    MULTISPECTRAL = "bitemporal"
    DISPLAY_RGB = "rgb"
    VHR_RGB = "vhr"
    AERIAL_RGB = "buildings"
    SAR = "sar"
    HETEROGENEOUS = "none"


@dataclass(frozen=True)
class Dated:
    """One image of a pair or series: its file, and its civil date where it is known."""

    path: Path
    day: date | None


@dataclass(frozen=True)
class LabelledPair:
    """One entry of the registry.

    Parameters
    ----------
    set_name, name, family
        As the registry calls them.
    score
        ``pixels``, ``objects`` (only some objects are labelled) or ``flagged_share`` (nothing changed).
    natural
        Whether the labelled change is natural.
    sensor
        Its class.
    roles
        What each band of the files is: a role, ``scl``, ``valid``, or "" where it is not used.
    scale
        Reflectance, brightness or decibel = number × scale.
    amplitude
        Radar numbers are amplitudes, not decibel.
    pixel_m
        Side of a pixel in metres; None where nobody knows.
    comparisons
        Before and after; more than one for a list of date pairs.
    series
        All images of the place, oldest first; those not later than a before date may serve as history.
    label
        File of labels, or None.
    """

    set_name: str
    name: str
    family: str
    score: str
    natural: bool
    sensor: SensorClass
    roles: tuple[str, ...]
    scale: float
    amplitude: bool
    pixel_m: float | None
    comparisons: tuple[tuple[Dated, Dated], ...]
    series: tuple[Dated, ...]
    label: Path | None


def read_registry(folder: Path) -> list[LabelledPair | EcowatchError]:
    """Read ``registry.json`` of a folder; an entry that cannot be read is given back as its error.

    Raises
    ------
    IntakeError
        Where there is no registry, or it is no list of objects.
    """
    where = folder / "registry.json"
    entries = read_json(admit(where, roots=[folder], kinds=frozenset({FileKind.GEOJSON})))
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise IntakeError("REGISTRY", where, "it is no list of objects", "see docs/accuracy.md for the layout")
    return [_entry(folder, entry) for entry in entries]


def _entry(folder: Path, entry: Mapping[str, Any]) -> LabelledPair | EcowatchError:
    where = f"{folder / 'registry.json'}: {entry.get('set')}/{entry.get('pair')}"
    try:
        set_name, name, score = str(entry["set"]), str(entry["pair"]), str(entry["score"])
        if score not in _SCORES:
            return IntakeError("REGISTRY", where, f"score {score!r}", f"one of: {', '.join(_SCORES)}")
        comparisons, series = _images(folder, entry, set_name, name)
        sensor, roles = sensor_class(entry)
        unit, amplitude = _radiometry(entry, sensor)
        return LabelledPair(
            set_name,
            name,
            str(entry.get("family") or set_name),
            score,
            bool(entry.get("natural")),
            sensor,
            roles,
            unit,
            amplitude,
            _pixel_m(entry),
            comparisons,
            series,
            None if score == "flagged_share" else folder / set_name / f"{name}_label.tif",
        )
    except (KeyError, TypeError, ValueError) as error:
        return IntakeError("REGISTRY", where, f"{type(error).__name__}: {error}", "see docs/accuracy.md for the layout")


def sensor_class(entry: Mapping[str, Any]) -> tuple[SensorClass, tuple[str, ...]]:
    """Return the class of sensor of a registry entry and the role of each band of its files."""
    bands, kind, sensor = entry.get("bands"), str(entry.get("kind") or ""), str(entry.get("sensor") or "").lower()
    if isinstance(bands, dict) or kind == "heterogeneous":
        return SensorClass.HETEROGENEOUS, ()
    names = [str(name).lower() for name in bands or ()]
    if kind == "sar" or any(name.startswith(("vv", "vh", "hh", "hv", "amplitude")) for name in names):
        return SensorClass.SAR, tuple(_polarisation(name, number) for number, name in enumerate(names))
    if "false colour" in sensor and len(names) == len(_FALSE_COLOUR):
        return SensorClass.DISPLAY_RGB, _FALSE_COLOUR
    roles = tuple(name if name in (*_SPECTRAL, *_QUALITY) else "" for name in names)
    if not any(roles):
        roles = ("red", "green", "blue")[: len(names)]
    if "nir" in roles:
        return SensorClass.MULTISPECTRAL, roles
    pixel_m = _pixel_m(entry)
    if pixel_m is not None and pixel_m >= _FAR_M:
        return SensorClass.DISPLAY_RGB, roles
    return (SensorClass.AERIAL_RGB if pixel_m is not None and pixel_m < _NEAR_M else SensorClass.VHR_RGB), roles


def _polarisation(name: str, number: int) -> str:
    return next((p for p in ("vv", "vh", "hh", "hv") if name.startswith(p)), "vv" if number == 0 else "")


def _radiometry(entry: Mapping[str, Any], sensor: SensorClass) -> tuple[float, bool]:
    if entry.get("scale") is not None:
        return float(entry["scale"]), False
    if sensor is SensorClass.SAR:
        names = " ".join(str(band).lower() for band in entry.get("bands") or ())
        match = re.search(r"db_x(\d+)", names)
        return (1 / float(match[1]), False) if match else (1.0, "db" not in names)
    return {"uint8": 1 / 255, "uint16": 1e-4}.get(str(entry.get("dtype")), 1.0), False


def _pixel_m(entry: Mapping[str, Any]) -> float | None:
    if entry.get("resolution_m"):
        return float(entry["resolution_m"])
    if not entry.get("transform") or not entry.get("crs"):
        return None
    pixel = abs(float(entry["transform"][0]))
    return pixel * _DEGREE_M if str(entry["crs"]).upper() in ("EPSG:4326", "EPSG:4490") else pixel


def _images(
    folder: Path, entry: Mapping[str, Any], set_name: str, name: str
) -> tuple[tuple[tuple[Dated, Dated], ...], tuple[Dated, ...]]:
    if "date_pairs" not in entry:
        before = Dated(folder / set_name / f"{name}_t1.tif", _day(entry.get("date_t1")))
        after = Dated(folder / set_name / f"{name}_t2.tif", _day(entry.get("date_t2")))
        return ((before, after),), ()
    pattern = str(entry["files"])
    series = _series(folder, pattern)
    by_day = {image.day.isoformat(): image for image in series if image.day}
    return tuple((by_day[first], by_day[last]) for first, last in entry["date_pairs"]), series


def _series(folder: Path, pattern: str) -> tuple[Dated, ...]:
    head, _, tail = pattern.partition("{date}")
    place = (folder / head).parent
    found = []
    for path in sorted(place.iterdir()):
        text = path.relative_to(folder).as_posix()
        if text.startswith(head) and text.endswith(tail) and _day(text[len(head) : len(text) - len(tail)]):
            found.append(Dated(path, _day(text[len(head) : len(text) - len(tail)])))
    return tuple(found)


def _day(text: object) -> date | None:
    return date.fromisoformat(text) if isinstance(text, str) and _ISO_DATE.fullmatch(text) else None


def places(pairs: Sequence[LabelledPair]) -> list[tuple[LabelledPair, tuple[LabelledPair, ...]]]:
    """Return each optical pair that has radar pairs of the same place, with those.

    The same place means: the radar pair's name begins with the optical pair's, and both carry the same dates.
    """
    optical = [p for p in pairs if p.sensor in (SensorClass.DISPLAY_RGB, SensorClass.MULTISPECTRAL)]
    radar = [p for p in pairs if p.sensor is SensorClass.SAR]
    joined = [(o, tuple(r for r in radar if _same_place(o, r))) for o in optical]
    return [(o, found) for o, found in joined if found]


def _same_place(optical: LabelledPair, radar: LabelledPair) -> bool:
    days = [[image.day for image in p.comparisons[0]] for p in (optical, radar)]
    named = radar.name == optical.name or radar.name.startswith(f"{optical.name}_")
    return named and days[0] == days[1] and optical.score == radar.score == "pixels"
