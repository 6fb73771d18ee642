"""Sentinel-2's +1000: the metadata says whether pixels carry it, the pixels are asked whether that is true.

From processing baseline 04.00 numbers are stored 1000 higher. Archives and conversion tools remove the offset and leave
the metadata, or copy metadata without the list; either way reflectance is wrong by 0.1, more than most changes. Metadata
and pixels must therefore agree.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_erosion

from .. import raster
from ..digests import recalled
from ..errors import SceneError
from ..raster import gdal_version, sample_numbers
from .scene import Band

Array = np.ndarray[Any, Any]

SAMPLE_PX = 512
MIN_VALID = 200
NEGATIVE_SHARE = 0.01
NEGATIVE_MARGIN = 100.0
"""Numbers below which a reflectance counts as negative: -0.01. Dark water lies about zero and may fall just under it."""
ADDED = 1000.0
DARKEST_PERCENT = 0.1
_REMEDY = "fetch the product again, or set trust_offset = true for this source if the metadata are known to be right"


def check_offset(numbers: Array, *, fill: float, offsets: Sequence[float], where: object) -> None:
    """Compare the offset of the metadata with sampled numbers.

    Parameters
    ----------
    numbers
        ``(band, n)``, any number type: sampled numbers as they stand in the files.
    fill
        Number that means "no data"; a pixel counts where no band holds it.
    offsets
        Offset per band in the same numbers (-1000 from baseline 04.00), 0 where the metadata name none.
    where
        Scene, for the message.

    Raises
    ------
    SceneError
        ``OFFSET_CONFLICT``: the offset makes more than 1 % of the numbers clearly negative, or there is none and in every
        band the darkest 0.1 % lie at or above 1000. With fewer than 200 valid pixels nothing can be told.
    """
    valid = np.asarray(numbers, np.float64)[:, _valid(numbers, fill)]
    if valid.shape[1] < MIN_VALID:
        return
    applied = np.asarray(offsets, np.float64)
    if applied.any():
        _check_applied(valid, applied, where)
    else:
        _check_none(valid, where)


def _check_applied(valid: Array, offsets: Array, where: object) -> None:
    corrected = (valid + offsets[:, None])[offsets != 0]
    share = float((corrected < -NEGATIVE_MARGIN).mean())
    if share > NEGATIVE_SHARE:
        raise SceneError(
            "OFFSET_CONFLICT",
            where,
            f"the metadata say offset {offsets.min():g}, but {share:.1%} of the pixels would be negative: the pixels were"
            " already corrected",
            _REMEDY,
        )


def _check_none(valid: Array, where: object) -> None:
    darkest = np.percentile(valid, DARKEST_PERCENT, axis=1)
    if darkest.min() >= ADDED:
        raise SceneError(
            "OFFSET_CONFLICT",
            where,
            f"the metadata say offset 0, but the darkest {DARKEST_PERCENT} % of every band are at or above"
            f" {darkest.min():.0f}: the pixels still carry the +{ADDED:.0f}",
            _REMEDY,
        )


def check_scene_offset(bands: Sequence[Band], where: object) -> None:
    """Sample the bands of a Sentinel-2 scene at no more than 512 x 512 pixels and check their offset.

    The verdict follows from the files' bytes alone: it is remembered by their digests.

    Raises
    ------
    SceneError
        ``OFFSET_CONFLICT``, or ``RASTER_UNREADABLE`` with the file.
    """
    parts = [f"{b.layer.digest} {b.layer.index} {b.layer.fill} {b.scale!r} {b.offset!r}" for b in bands]
    if finding := recalled([_own_code(), gdal_version(), *parts], lambda: _finding(bands, where)):
        raise SceneError("OFFSET_CONFLICT", where, finding, _REMEDY)


@cache
def _own_code() -> str:
    """Digest of what samples and judges; a verdict of other code is not taken."""
    files = [Path(__file__), *sorted(Path(raster.__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _finding(bands: Sequence[Band], where: object) -> str:
    """What is wrong with the offset; "" where nothing is."""
    finest = min((band.layer.grid for band in bands), key=lambda grid: grid.pixel_m)
    sample = sample_numbers([band.layer for band in bands], finest, max_px=SAMPLE_PX)
    fill = bands[0].layer.fill or 0.0
    offsets = [round(band.offset / band.scale, 3) for band in bands]
    seen: list[Array] = []
    for part in sample.parts:
        # A decimated JPEG 2000 mixes fill into the pixels beside it.
        valid = binary_erosion(_valid(part, fill), np.ones((3, 3)), border_value=1)
        seen.append(part[:, valid])
        if not any(offsets) and _is_dark_enough(seen, sample.pixels):
            return ""
    try:
        check_offset(np.concatenate(seen, axis=1), fill=fill, offsets=offsets, where=where)
    except SceneError as error:
        return error.finding
    return ""


def _is_dark_enough(seen: Sequence[Array], most_px: int) -> bool:
    """Whether a band has so many dark numbers that its darkest per mille stay dark, however bright the rest of it is.

    Most scenes tell so at the first look, and the blocks of all others need not be decoded for them.
    """
    dark = sum((part < ADDED).sum(axis=1) for part in seen)
    # The percentile lies between two numbers: both must be among the dark ones.
    needed = math.floor(DARKEST_PERCENT / 100 * (most_px - 1)) + 2
    return bool((dark >= needed).any())


def _valid(numbers: Array, fill: float) -> Array:
    valid: Array = ((numbers != fill) & np.isfinite(numbers)).all(axis=0)
    return valid
