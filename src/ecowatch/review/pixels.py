"""The pixels of two dates on an area's grid: read, moved onto one another, turned into features, marked usable or not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..codes import State
from ..detect import PairBlock
from ..grid import Window
from ..prepare import (
    DECIBEL_SCALE,
    FEATURE_SCALE,
    NO_DECIBEL,
    ShiftField,
    alpha_state,
    blur_sigma_px,
    blur_support_px,
    blurred,
    decibel_features,
    edges_off,
    fill_state,
    pair_state,
    physical_values,
    qa_pixel_state,
    scl_state,
    texture_features,
)
from ..raster import GridReader, Pixels
from ..scenes import RADAR_UNITS, QualityKind, Scene, Unit

if TYPE_CHECKING:
    from .choice import DateGroup
    from .pair import Comparison

Array = np.ndarray[Any, Any]


# Pixels that differ by less than this belong to one class of resolution.
_OTHER_SENSOR = 1.3


class PairPixels(NamedTuple):
    """Two dates over one window.

    ``before`` and ``after`` are integers ``(band, row, col)``, or None where no pixel is usable in both dates;
    ``state`` is uint8 of `State`, ``(row, col)``; ``fills`` are the numbers that still mean "no data" in the bands.
    """

    before: Array | None
    after: Array | None
    state: Array
    fills: tuple[float | None, float | None]


class _Reach(NamedTuple):
    """How far around a window pixels are needed: for band values, and for taking the edges off."""

    values_px: int
    erode_px: int

    @property
    def state_px(self) -> int:
        """The larger of both: where bands tell the state, they are read that far."""
        return max(self.values_px, self.erode_px)


def quality_state(scene: Scene, pixels: Pixels, *, clear_scl: Collection[int]) -> Array:
    """Return the state of each pixel from a scene's quality layer, or from the fill of the given bands.

    Parameters
    ----------
    scene
        Tells what the layer means.
    pixels
        Its quality layer ``(1, row, col)``; bands where it has none.
    clear_scl
        Sentinel-2 classes that are usable.

    Returns
    -------
    ndarray
        uint8 of `State`, ``(row, col)``.
    """
    if scene.quality is None:
        return fill_state(pixels.values, pixels.covered, fill=scene.bands[0].layer.fill)
    kind, numbers = scene.quality.kind, pixels.values[0]
    if kind is QualityKind.SCL:
        state = scl_state(numbers, clear=clear_scl)
    elif kind is QualityKind.QA_PIXEL:
        state = qa_pixel_state(numbers)
    else:
        state = alpha_state(numbers)
    if pixels.covered is not None:
        state = np.where(pixels.covered, state, np.uint8(State.NO_DATA))
    return state


def read_pair(
    reader: GridReader,
    comparison: Comparison,
    window: Window,
    *,
    shift: ShiftField | None,
    inside: Array | None,
    features: bool = True,
    before_shift: ShiftField | None = None,
) -> PairPixels:
    """Read both dates over `window` and say which pixels may be compared.

    Parameters
    ----------
    reader
        Open on the comparison's grid.
    comparison
        Area, dates, pipeline.
    window
        A window of the grid.
    shift
        Displacement of the after date, taken out while reading; None for none.
    inside
        Bool ``(row, col)``: pixels of the area; None for all.
    features
        Apply the feature step of the pipeline's method.
    before_shift
        Displacement of the before date, where that is not the date the grid follows.
    """
    roles = comparison.roles
    pipeline = comparison.pipeline
    textured = features and pipeline.detect.method == "rgb_texture"
    radar = features and is_radar(comparison)
    spread = pipeline.detect.texture_px // 2 if textured else 0
    clear, erode = pipeline.prepare.clear_scl, pipeline.prepare.erode_px
    dates = ((comparison.before, before_shift), (comparison.after, shift))
    sigmas = _blurs(comparison)
    # A window of texture or blur must not reach into what is not there.
    wide = [spread + blur_support_px(sigma) for sigma in sigmas]
    looks = [
        _DateReader(reader, group, roles, window, _Reach(px, max(erode, px)), moved, clear)
        for (group, moved), px in zip(dates, wide, strict=True)
    ]
    quick = [look.quick_state() for look in looks]
    if quick[0] is not None and quick[1] is not None:
        state = pair_state(quick[0], quick[1], inside)
        if not (state == State.USABLE).any():
            return PairPixels(None, None, state, (None, None))
    (before, state_b), (after, state_a) = (look.values_and_state(fold_fill=textured) for look in looks)
    fills = [None if textured else group.scenes[0].bands[0].layer.fill for group, _ in dates]
    before, after = (
        blurred(values, None, sigma_px=sigma, pad_px=blur_support_px(sigma), fill=fill)[0] if sigma else values
        for values, sigma, fill in zip((before, after), sigmas, fills, strict=True)
    )
    if radar:
        before, after = (
            _decibel(values, fill, group, roles)
            for values, fill, (group, _) in zip((before, after), fills, dates, strict=True)
        )
        fills = [NO_DECIBEL, NO_DECIBEL]
    if textured:
        side = pipeline.detect.texture_px
        before, after = texture_features(before, side_px=side), texture_features(after, side_px=side)
    return PairPixels(before, after, pair_state(state_b, state_a, inside), (fills[0], fills[1]))


def read_values(
    reader: GridReader, comparison: Comparison, window: Window, *, shift: ShiftField | None
) -> tuple[Array, Array]:
    """Return the numbers of both dates over `window` as `read_pair` would, whether or not they can be used.

    Parameters
    ----------
    reader, comparison, window, shift
        As there.
    """
    groups = comparison.before, comparison.after
    plain = comparison.pipeline.detect.method != "rgb_texture" and not is_radar(comparison)
    if plain and not any(_blurs(comparison)) and all(len(group.scenes) == 1 for group in groups):
        layers = ([group.scenes[0].band(role).layer for role in comparison.roles] for group in groups)
        before, after = (
            reader.read(own, window, shift=moved).values for own, moved in zip(layers, (None, shift), strict=True)
        )
        return before, after
    pair = read_pair(reader, comparison, window, shift=shift, inside=None)
    assert pair.before is not None and pair.after is not None
    return pair.before, pair.after


def _blurs(comparison: Comparison) -> tuple[float, float]:
    """Blur of each date, pixels of the area's grid: the finer sensor is brought to the point spread of the coarser."""
    groups = comparison.before, comparison.after
    pixels = [group.scenes[0].grid.pixel_m for group in groups]
    if is_radar(comparison) or max(pixels) < _OTHER_SENSOR * min(pixels):
        return 0.0, 0.0
    grid_m, share = comparison.grid.pixel_m, comparison.pipeline.prepare.spread_share
    # Sums are exact for numbers of at most 16 bits only.
    exact = [group.scenes[0].bands[0].layer.dtype in ("uint8", "uint16", "int16") for group in groups]
    before, after = (
        blur_sigma_px(own, max(pixels), spread_share=share) * own / grid_m if can else 0.0
        for own, can in zip(pixels, exact, strict=True)
    )
    return before, after


def is_radar(comparison: Comparison) -> bool:
    """Tell whether the comparison is of radar backscatter, by the unit of its bands."""
    return comparison.before.unit_of(comparison.roles[0]) in RADAR_UNITS


def is_calibrated(comparison: Comparison) -> bool:
    """Tell whether both dates are surface reflectance, so that levels mean the same everywhere."""
    units = {group.unit_of(role) for group in (comparison.before, comparison.after) for role in comparison.roles}
    return units == {Unit.REFLECTANCE}


# Amplitudes below one count, and backscatter below the noise of any sensor.
_FLOOR_DB = {Unit.AMPLITUDE: 0.0, Unit.POWER: -40.0, Unit.DECIBEL: -60.0}
_POWER_FACTOR = {Unit.AMPLITUDE: 20.0, Unit.POWER: 10.0, Unit.DECIBEL: 0.0}


def _decibel(values: Array, fill: float | None, group: DateGroup, roles: Sequence[str]) -> Array:
    scale, offset = np.array(group.radiometry(roles)).T
    units = [group.unit_of(role) for role in roles]
    factors = np.array([_POWER_FACTOR[unit] for unit in units])
    return decibel_features(
        values, fill, scale=scale, offset=offset, power_factor=factors, floor_db=_FLOOR_DB[units[0]]
    )


def feature_radiometry(
    comparison: Comparison, group: DateGroup
) -> tuple[tuple[str, ...], tuple[tuple[float, float], ...]]:
    """Return names and (scale, offset) of what `read_pair` gives for a date: bands, or features in their integers."""
    radiometry = group.radiometry(comparison.roles)
    if is_radar(comparison):
        return comparison.roles, tuple((1 / DECIBEL_SCALE, 0.0) for _ in comparison.roles)
    if comparison.pipeline.detect.method != "rgb_texture":
        return comparison.roles, radiometry
    factor = FEATURE_SCALE if group.scenes[0].bands[0].layer.dtype == "uint8" else 1
    scaled = tuple((scale / factor, offset) for scale, offset in radiometry)
    return (*comparison.roles, "texture"), (*scaled, (scaled[0][0], 0.0))


def physical_block(comparison: Comparison, pair: PairPixels, *, features: bool = True) -> PairBlock | None:
    """Return the pair in physical units, fill taken out; None where no pixel is usable in both dates.

    Parameters
    ----------
    comparison, pair
        What was read, and of what.
    features
        Whether it was read with the feature step of the pipeline's method.
    """
    if pair.before is None or pair.after is None:
        return None
    valid = pair.state == State.USABLE
    dates = []
    groups = comparison.before, comparison.after
    for values, fill, group in zip((pair.before, pair.after), pair.fills, groups, strict=True):
        radiometry = feature_radiometry(comparison, group)[1] if features else group.radiometry(comparison.roles)
        scale, offset = np.ascontiguousarray(np.array(radiometry, np.float32).T)
        physical, valid = physical_values(values, valid, scale=scale, offset=offset, fill=fill)
        dates.append(physical)
    return PairBlock(dates[0], dates[1], valid)


class _DateReader:
    """Reads one date over one window; the scenes of the date fill one another's gaps in the order of their names."""

    def __init__(
        self,
        reader: GridReader,
        group: DateGroup,
        roles: Sequence[str],
        window: Window,
        reach: _Reach,
        shift: ShiftField | None,
        clear_scl: tuple[int, ...],
    ) -> None:
        self._reader = reader
        self._scenes = group.scenes
        self._roles = roles
        self._window = window
        self._reach = reach
        self._shift = shift
        self._clear = clear_scl
        self._quality_state: Array | None = None
        self._quick: Array | None = None

    def quick_state(self) -> Array | None:
        """State over the window from the quality layer alone; None where the bands themselves must be read."""
        if len(self._scenes) > 1 or self._needs_bands(self._scenes[0]):
            return None
        self._quick = self._edges_off(self._quality(self._scenes[0]))
        return self._quick

    def values_and_state(self, *, fold_fill: bool) -> tuple[Array, Array]:
        """Values over the window grown by the reach, and the state over the window, edges taken off."""
        if self._quick is not None and not fold_fill:
            return self._values(self._scenes[0]), self._quick
        values: Array | None = None
        state: Array | None = None
        for scene in self._scenes:
            part, part_state = self._scene(scene, fold_fill=fold_fill or len(self._scenes) > 1)
            if values is None or state is None:
                values, state = part, part_state
            else:
                gap = (state == State.NO_DATA) & (part_state != State.NO_DATA)
                state = np.where(gap, part_state, state)
                values = np.where(_cropped(gap, self._reach.state_px - self._reach.values_px), part, values)
            if not (state == State.NO_DATA).any():
                break
        assert values is not None and state is not None
        return values, self._edges_off(state)

    def _edges_off(self, state: Array) -> Array:
        radius = self._reach.erode_px
        return edges_off(_cropped(state, self._reach.state_px - radius), radius_px=radius)

    def _needs_bands(self, scene: Scene) -> bool:
        # Opacity stands in the same blocks as the colours: reading it alone would decode them twice.
        return scene.quality is None or scene.quality.kind is QualityKind.ALPHA

    def _quality(self, scene: Scene) -> Array:
        if len(self._scenes) == 1 and self._quality_state is not None:
            return self._quality_state
        assert scene.quality is not None
        window = self._window.padded(self._reach.state_px)
        pixels = self._reader.read([scene.quality.layer], window, shift=self._shift, categorical=True)
        self._quality_state = quality_state(scene, pixels, clear_scl=self._clear)
        return self._quality_state

    def _values(self, scene: Scene) -> Array:
        layers = [scene.band(role).layer for role in self._roles]
        return self._reader.read(layers, self._window.padded(self._reach.values_px), shift=self._shift).values

    def _scene(self, scene: Scene, *, fold_fill: bool) -> tuple[Array, Array]:
        layers = [scene.band(role).layer for role in self._roles]
        trim = self._reach.state_px - self._reach.values_px
        if not self._needs_bands(scene):
            state = self._quality(scene)
            if not fold_fill:
                return self._values(scene), state
            pixels = self._reader.read(layers, self._window.padded(self._reach.state_px), shift=self._shift)
            filled = fill_state(pixels.values, pixels.covered, fill=layers[0].fill)
            return _cropped(pixels.values, trim), np.maximum(state, filled)
        window = self._window.padded(self._reach.state_px)
        alpha = [scene.quality.layer] if scene.quality is not None else []
        pixels = self._reader.read([*layers, *alpha], window, shift=self._shift)
        values = pixels.values[: len(layers)]
        state = fill_state(values, pixels.covered, fill=layers[0].fill)
        if alpha:
            # Cubic convolution rings at the rim of the image; anything but full opacity is rim.
            opaque = pixels.values[len(layers)]
            state = np.maximum(state, alpha_state(np.where(opaque == np.iinfo(opaque.dtype).max, opaque, 0)))
        return np.ascontiguousarray(_cropped(values, trim)), state


def _cropped(image: Array, px: int) -> Array:
    return image[..., px : image.shape[-2] - px, px : image.shape[-1] - px] if px else image
