"""A learned model as a detector: an ONNX file, named by its digest, run tile by tile so that no seam shows.

The model tells its own contract in its metadata, so that the contract is under the same digest as the weights:

``ecowatch.output``
    ``probability`` (0–1), ``logit`` (log odds) or ``score`` (any number that grows with change).
``ecowatch.reach_px``
    How many pixels around a pixel its output depends on.
``ecowatch.stride_px``
    Pixels by which the input may be moved with the output moving along: 1 (default) for plain convolutions, 32 for a network
    that halves five times. A power of two of at most 512.
``ecowatch.fill``
    Number given for pixels that are not valid; 0 by default.
``ecowatch.bands``
    Roles of the bands in their order, joined by commas; not checked where absent.

Input is float32 ``(1, band, row, col)``: two inputs ``before`` and ``after``, or one with the bands of both, before first.
Rows and columns are free or fixed. Output is float32 ``(1, 1, row, col)``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, UnavailableError
from .block import PairBlock

Array = np.ndarray[Any, Any]

_OUTPUTS = ("score", "probability", "logit")
_LARGEST_BYTES = 2 << 30
_FREE_CORE_PX = 512
_ROUNDING = 1e-5
# Share of the output's own deviation by which pixels beyond the reach may move it.
_DEAF = 1e-3
# Key of a tensor kept in another file, as protobuf writes it.
_EXTERNAL = b"\n\x08location\x12"


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A loaded model and its contract.

    Parameters
    ----------
    session
        The runtime's session; safe to be used by several threads.
    where, sha256
        File, and digest of its content.
    roles
        Roles of the bands; empty where the model does not tell.
    inputs
        ``("before", "after")``, or the one input's name.
    bands
        Number of bands of one date.
    side_px
        Rows and columns of its input where they are fixed; None where they are free.
    reach_px
        Pixels around a window that its output depends on, rounded up to whole strides.
    stride_px, output, fill
        As the metadata tell.
    """

    session: Any
    where: str
    sha256: str
    roles: tuple[str, ...]
    inputs: tuple[str, ...]
    bands: int
    side_px: int | None
    reach_px: int
    stride_px: int
    output: str
    fill: float


@lru_cache(maxsize=4)
def load_model(path: str, sha256: str) -> OnnxModel:
    """Load a model from a file whose digest is known, and try whether it keeps its contract.

    Parameters
    ----------
    path
        ONNX file with its weights inside.
    sha256
        Digest of the file, hexadecimal; part of the pipeline, so that another model is another pipeline.

    Raises
    ------
    ConfigError
        ``MODEL_MISSING``, ``MODEL_DIGEST``, ``MODEL_EXTERNAL`` (weights in another file), ``MODEL_UNREADABLE``,
        ``MODEL_CONTRACT``, ``MODEL_REACH``, ``MODEL_OUTPUT_SHAPE``.
    UnavailableError
        ``ML_MISSING`` where the runtime is not installed.
    """
    content = _content(Path(path), sha256)
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    # The last level lays data out as the processor likes it: the same numbers on every machine are worth more.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own errors share no base class
        reason = str(error).splitlines()[0][:200]
        raise ConfigError("MODEL_UNREADABLE", path, f"no usable ONNX model ({reason})", "export it again") from error
    model = _with_contract(session, path, sha256)
    _try_reach(model)
    return model


def _try_reach(model: OnnxModel) -> None:
    """Refuse a model whose output in the middle of a tile hears of pixels beyond its declared reach: it would leave seams."""
    side, stride = _core_px(model) + 2 * model.reach_px, model.stride_px
    rng = np.random.default_rng(0)
    dates = rng.random((2, model.bands, side, side), np.float32)
    middle = side // 2 // stride * stride
    first, last = max(middle - model.reach_px, 0), middle + stride + model.reach_px
    other = rng.random(dates.shape, np.float32)
    other[:, :, first:last, first:last] = dates[:, :, first:last, first:last]
    one, two = (_run_tile(model, *pair) for pair in (dates, other))
    here = (slice(middle, middle + stride),) * 2
    apart, spread = float(np.abs(one[here] - two[here]).max()), float(np.std(one))
    if apart > _DEAF * spread:
        raise ConfigError(
            "MODEL_REACH",
            model.where,
            f"pixels further than {model.reach_px} px away move its output by {apart:.3g} (deviation {spread:.3g})",
            "declare its true ecowatch.reach_px; a model that looks at the whole tile cannot serve",
        )


def _content(path: Path, sha256: str) -> bytes:
    if not path.is_file():
        raise ConfigError("MODEL_MISSING", path, "there is no such file", "set 'model' to an ONNX file")
    if path.stat().st_size > _LARGEST_BYTES:
        raise ConfigError("MODEL_UNREADABLE", path, "it is larger than 2 GiB", "export a smaller model")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        raise ConfigError(
            "MODEL_DIGEST", path, f"its SHA-256 is {found}, not {sha256}", "restore the file, or raise the version"
        )
    if _EXTERNAL in content:
        raise ConfigError("MODEL_EXTERNAL", path, "its weights lie in another file", "export it as one file")
    return content


def _runtime() -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - an extra: only who uses a model needs it
    except ImportError as error:
        raise UnavailableError(
            "ML_MISSING", "method 'onnx'", f"onnxruntime cannot be imported ({error})", "pip install 'ecowatch[ml]'"
        ) from error
    return onnxruntime


def _with_contract(session: Any, path: str, sha256: str) -> OnnxModel:
    told = session.get_modelmeta().custom_metadata_map
    output = told.get("ecowatch.output", "")
    if output not in _OUTPUTS:
        raise _breach(path, f"ecowatch.output is {output!r}", f"one of {', '.join(_OUTPUTS)} is needed")
    stride = int(_number(told, "ecowatch.stride_px", "1", path))
    if stride not in {1 << k for k in range(10)}:
        raise _breach(path, f"ecowatch.stride_px is {stride}", "a power of two of at most 512 is needed")
    reach = int(_number(told, "ecowatch.reach_px", "", path))
    names, bands, side = _inputs(session, path)
    roles = tuple(r.strip() for r in told.get("ecowatch.bands", "").split(",") if r.strip())
    if roles and len(roles) != bands:
        raise _breach(path, f"ecowatch.bands names {len(roles)} bands, the input has {bands}", "name every band")
    model = OnnxModel(
        session=session,
        where=path,
        sha256=sha256.lower(),
        roles=roles,
        inputs=names,
        bands=bands,
        side_px=side,
        reach_px=-(-reach // stride) * stride,
        stride_px=stride,
        output=output,
        fill=_number(told, "ecowatch.fill", "0", path),
    )
    if not 0 <= reach <= 512 or _core_px(model) < stride or (side or 0) % stride:
        raise _breach(
            path, f"reach {reach} and stride {stride} do not fit a side of {side or 'any'} px", "enlarge the side"
        )
    return model


def _number(told: Mapping[str, str], key: str, default: str, path: str) -> float:
    text = told.get(key, default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _breach(path, f"{key} is {text!r}", "set it to a number in the model's metadata")
    return value


def _breach(path: str, finding: str, remedy: str) -> ConfigError:
    return ConfigError("MODEL_CONTRACT", path, finding, remedy)


def _inputs(session: Any, path: str) -> tuple[tuple[str, ...], int, int | None]:
    """Names, bands of one date, and the fixed side of the model's inputs."""
    given = {item.name: item for item in session.get_inputs()}
    names = ("before", "after") if set(given) == {"before", "after"} else tuple(given)
    shapes = {tuple(item.shape) for item in given.values()}
    if len(names) != 1 and names != ("before", "after"):
        raise _breach(path, f"its inputs are {', '.join(names)}", "'before' and 'after', or one input, are needed")
    if len(shapes) != 1 or {item.type for item in given.values()} != {"tensor(float)"}:
        raise _breach(path, "its inputs differ or are not float32", "float32 of one shape is needed")
    shape = shapes.pop()
    channels = shape[1] if len(shape) == 4 else None
    if not isinstance(channels, int) or (isinstance(shape[0], int) and shape[0] != 1):
        raise _breach(path, f"its input has the shape {list(shape)}", "(1, band, row, col) is needed")
    dates = 3 - len(names)
    if channels % dates or channels < dates:
        raise _breach(path, f"its one input has {channels} channels", "the bands of both dates are needed")
    sides = [s if isinstance(s, int) else None for s in shape[2:]]
    if sides[0] != sides[1]:
        raise _breach(path, f"its input has the shape {list(shape)}", "rows and columns must be equal, or both free")
    return names, channels // dates, sides[0]


def require_roles(model: OnnxModel, roles: Sequence[str]) -> None:
    """Refuse bands other than those the model was trained on.

    Raises
    ------
    ConfigError
        ``MODEL_BANDS`` where number or roles differ.
    """
    if len(roles) != model.bands or (model.roles and tuple(roles) != model.roles):
        wanted = ", ".join(model.roles) or f"{model.bands} bands"
        raise ConfigError(
            "MODEL_BANDS", model.where, f"it wants {wanted}, the pair has {', '.join(roles)}", "set detect.bands"
        )


def run_model(model: OnnxModel, block: PairBlock) -> Array:
    """Run a model over a block, tile by tile.

    Every tile has the same size and at least `reach_px` pixels around what is kept of it; beyond the block there is fill.
    So neither tiles nor blocks leave a seam.

    Returns
    -------
    ndarray
        float32, ``(row, col)``, the model's own numbers; 0 where not valid.

    Raises
    ------
    ConfigError
        ``MODEL_BANDS``, ``MODEL_OUTPUT_SHAPE``, ``MODEL_OUTPUT_NAN``, ``MODEL_OUTPUT_RANGE``.
    """
    if len(block.before) != model.bands or block.before.shape != block.after.shape:
        raise ConfigError(
            "MODEL_BANDS",
            model.where,
            f"it wants {model.bands} bands, the pair has {len(block.before)} and {len(block.after)}",
            "set detect.bands to the model's",
        )
    core, margin = _core_px(model), model.reach_px
    rows, cols = block.valid.shape
    out = np.zeros((rows, cols), np.float32)
    for row, col in _tiles(rows, cols, core):
        kept = (slice(row, min(row + core, rows)), slice(col, min(col + core, cols)))
        if not block.valid[kept].any():
            continue
        dates = [_canvas(d, block.valid, row - margin, col - margin, model) for d in (block.before, block.after)]
        inner = _run_tile(model, *dates)[margin : margin + core, margin : margin + core]
        out[kept] = inner[: kept[0].stop - row, : kept[1].stop - col]
    # Of what a model makes of fill nothing is asked.
    out[~block.valid] = 0
    if not np.isfinite(out).all():
        raise ConfigError("MODEL_OUTPUT_NAN", model.where, "its output is not finite", "check its input scale")
    if model.output == "probability" and (out.min() < -_ROUNDING or out.max() > 1 + _ROUNDING):
        span = f"{out.min():.3g} … {out.max():.3g}"
        raise ConfigError("MODEL_OUTPUT_RANGE", model.where, f"its probabilities are {span}", "declare 'logit'")
    return out


def _core_px(model: OnnxModel) -> int:
    """Side of what is kept of a tile."""
    return _FREE_CORE_PX if model.side_px is None else model.side_px - 2 * model.reach_px


def _tiles(rows: int, cols: int, core: int) -> Iterator[tuple[int, int]]:
    for row in range(0, rows, core):
        for col in range(0, cols, core):
            yield row, col


def _canvas(values: Array, valid: Array, row0: int, col0: int, model: OnnxModel) -> Array:
    """One tile of one date, fill where there is nothing."""
    side = _core_px(model) + 2 * model.reach_px
    rows, cols = valid.shape
    top, left, bottom, right = max(row0, 0), max(col0, 0), min(row0 + side, rows), min(col0 + side, cols)
    out = np.full((model.bands, side, side), model.fill, np.float32)
    part = (slice(top, bottom), slice(left, right))
    target = (slice(top - row0, bottom - row0), slice(left - col0, right - col0))
    out[:, *target] = np.where(valid[part], values[:, *part], np.float32(model.fill))
    return out


def _run_tile(model: OnnxModel, before: Array, after: Array) -> Array:
    pair = (before, after) if len(model.inputs) == 2 else (np.concatenate([before, after]),)
    feed = {name: values[None] for name, values in zip(model.inputs, pair, strict=True)}
    try:
        found = model.session.run(None, feed)[0]
    except Exception as error:  # the runtime's own errors share no base class
        reason = str(error).splitlines()[0][:200]
        raise ConfigError(
            "MODEL_UNREADABLE", model.where, f"it fails when run ({reason})", "export it again"
        ) from error
    wanted = (1, 1, *before.shape[1:])
    if getattr(found, "shape", None) != wanted or found.dtype != np.float32:
        told = f"{getattr(found, 'dtype', type(found).__name__)} {getattr(found, 'shape', '')}"
        raise ConfigError("MODEL_OUTPUT_SHAPE", model.where, f"its output is {told}", f"float32 {wanted} is needed")
    return np.asarray(found[0, 0])
