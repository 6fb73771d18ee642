"""A learned model as a detector: contract, seams, nodata, place, calibration, refusals; with models made here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import ndimage as ndi

from ecowatch.detect.block import PairBlock
from ecowatch.detect.learned import OnnxFit, fit_onnx, reach_onnx, score_onnx
from ecowatch.detect.onnx import load_model, require_roles, run_model
from ecowatch.errors import ConfigError, EcowatchError, UnavailableError

onnx = pytest.importorskip("onnx", reason="the extra 'ml' and onnx are not installed")
pytest.importorskip("onnxruntime", reason="the extra 'ml' is not installed")

BANDS = 3


class Exported(NamedTuple):
    """File and digest, as the pipeline holds them."""

    model: str
    model_sha256: str


def saved(model: Any, path: Path) -> Exported:
    path.write_bytes(model.SerializeToString())
    return Exported(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def exported(
    path: Path,
    *,
    side: int | None = None,
    joined: bool = False,
    pooled: bool = False,
    tail: tuple[str, ...] = (),
    channels: int = 1,
    **told: str,
) -> Exported:
    """Save |after − before|, 3 × 3 mean of each band, sum over the bands: a model of nine numbers."""
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    size = [side, side] if side else ["rows", "cols"]
    weights = {
        "mean": np.full((channels, BANDS, 3, 3), 1 / 9, np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "cut": np.array([BANDS, BANDS], np.int64),
    }
    names = ["pair"] if joined else ["before", "after"]
    nodes = [helper.make_node("Split", ["pair", "cut"], ["before", "after"], axis=1)] if joined else []
    nodes += [
        helper.make_node("Sub", ["after", "before"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["size"]),
    ]
    last = "size"
    if pooled:
        nodes += [
            helper.make_node("AveragePool", [last], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Resize", ["half", "", "scales"], ["whole"], mode="nearest"),
        ]
        last = "whole"
    nodes.append(helper.make_node("Conv", [last, "mean"], ["sum"], pads=[1, 1, 1, 1]))
    last = "sum"
    for operator in tail:
        nodes.append(helper.make_node(operator, [last], [last + operator[0]]))
        last += operator[0]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(n, number, [1, BANDS * (2 if joined else 1), *size]) for n in names],
        [helper.make_tensor_value_info(last, number, None)],
        [onnx.numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    contract = {"output": "score", "reach_px": "1"} | told
    helper.set_model_props(model, {f"ecowatch.{k}": v for k, v in contract.items() if v})
    return saved(model, path)


def pair(rows: int, cols: int, seed: int = 0) -> PairBlock:
    rng = np.random.default_rng(seed)
    before = rng.random((BANDS, rows, cols)).astype(np.float32)
    after = (before + rng.normal(0, 0.1, before.shape)).astype(np.float32)
    return PairBlock(before, after, ndi.gaussian_filter(rng.standard_normal((rows, cols)), 3) < 0.15)


def cut(block: PairBlock, row0: int, row1: int, col0: int, col1: int) -> PairBlock:
    return PairBlock(
        block.before[:, row0:row1, col0:col1], block.after[:, row0:row1, col0:col1], block.valid[row0:row1, col0:col1]
    )


def oracle(block: PairBlock) -> np.ndarray:
    """The tiny model in NumPy: pixels that are not valid are 0 in both dates."""
    size = np.where(block.valid, np.abs(block.after.astype(float) - block.before), 0).sum(axis=0)
    return np.where(block.valid, ndi.uniform_filter(size, 3, mode="constant"), 0)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("side", [None, 16, 64])
def test_tiles_of_any_size_give_what_the_model_means(tmp_path: Path, joined: bool, side: int | None) -> None:
    file = exported(tmp_path / "m.onnx", side=side, joined=joined)
    block = pair(101, 77)
    found = run_model(load_model(*file), block)
    assert found.dtype == np.float32
    assert found == pytest.approx(oracle(block), abs=1e-5)
    assert (found[~block.valid] == 0).all() and (~block.valid).any()


@pytest.mark.parametrize("side", [None, 20])
def test_blocks_with_halo_equal_the_whole_to_the_last_bit(tmp_path: Path, side: int | None) -> None:
    """Each block's score lies where its ground lies: put back by its offset, nothing differs from the whole."""
    numbers = exported(tmp_path / "m.onnx", side=side)._asdict()
    whole = pair(120, 96)
    fitted = fit_onnx([whole], **numbers)
    expected = score_onnx(whole, fitted, **numbers)
    reach = reach_onnx(**numbers)
    joined = np.full(expected.shape, np.nan, np.float32)
    for row in range(0, 120, 40):
        for col in range(0, 96, 32):
            top, left = max(row - reach, 0), max(col - reach, 0)
            part = cut(whole, top, min(row + 40 + reach, 120), left, min(col + 32 + reach, 96))
            score = score_onnx(part, fitted, **numbers)
            joined[row : row + 40, col : col + 32] = score[row - top :, col - left :][:40, :32]
    assert (joined == expected).all()
    assert (score_onnx(whole, fitted, **numbers) == expected).all()


def test_a_halving_network_stays_in_phase(tmp_path: Path) -> None:
    """Its input may be moved by two pixels only: the reach is rounded up, lattice blocks keep to it."""
    numbers = exported(tmp_path / "m.onnx", pooled=True, reach_px="3", stride_px="2")._asdict()
    assert reach_onnx(**numbers) == 4
    whole = pair(64, 64)
    fitted = OnnxFit(0.0, 1.0, False, numbers["model_sha256"])
    expected = score_onnx(whole, fitted, **numbers)
    part = score_onnx(cut(whole, 28, 64, 12, 52), fitted, **numbers)
    assert (part[4:, 4:36] == expected[32:, 16:48]).all()


def test_a_change_is_found_in_its_place(tmp_path: Path) -> None:
    numbers = exported(tmp_path / "m.onnx", side=32)._asdict()
    block = pair(90, 110)
    after = block.after.copy()
    after[:, 40:50, 70:85] += 0.8
    changed = block._replace(after=after)
    score = score_onnx(changed, fit_onnx([changed], **numbers), **numbers)
    flagged = score > 3.5
    inside = np.zeros(flagged.shape, bool)
    inside[39:51, 69:86] = True
    core = np.zeros(flagged.shape, bool)
    core[41:49, 71:84] = True
    # Beside pixels that are not valid the mean of the tiny model is lower.
    assert (flagged & ~inside).sum() <= 5
    assert flagged[core & ndi.binary_erosion(block.valid)].all()
    assert (flagged & ~block.valid).sum() == 0


@pytest.mark.parametrize("share", [0.0, 0.03, 0.3, 0.6, 0.85])
def test_no_change_and_much_change(tmp_path: Path, share: float) -> None:
    """Quiet where nothing changed; not inverted where most did."""
    numbers = exported(tmp_path / "m.onnx")._asdict()
    block = pair(200, 200)._replace(valid=np.ones((200, 200), bool))
    changed = np.zeros((200, 200), bool)
    changed[:, : int(200 * share)] = True
    block = block._replace(after=np.where(changed, block.after + 0.7, block.after).astype(np.float32))
    score = score_onnx(block, fit_onnx([block], **numbers), **numbers)
    near = ndi.binary_dilation(changed, iterations=2)
    assert (score[~near] > 3.5).mean() < 2e-3
    assert share == 0 or (score[ndi.binary_erosion(changed, iterations=2)] > 3.5).mean() > 0.99


def test_a_pair_of_one_image_is_quiet(tmp_path: Path) -> None:
    numbers = exported(tmp_path / "m.onnx")._asdict()
    block = pair(40, 40)
    same = block._replace(after=block.before)
    assert (score_onnx(same, fit_onnx([same], **numbers), **numbers) <= 0).all()


@pytest.mark.parametrize(("output", "tail"), [("probability", ("Sigmoid",)), ("logit", ())])
def test_odds_have_the_same_meaning_in_every_pair(tmp_path: Path, output: str, tail: tuple[str, ...]) -> None:
    """Log odds of 2 are two deviations, of 6.125 three and a half; a flat pair of them is not normed away."""
    numbers = exported(tmp_path / "m.onnx", output=output, tail=tail)._asdict()
    for logit, sigma in ((2.0, 2.0), (6.125, 3.5), (0.0, 0.0)):
        before = np.zeros((BANDS, 30, 30), np.float32)
        block = PairBlock(before, before + np.float32(logit / BANDS), np.ones((30, 30), bool))
        fitted = fit_onnx([block], **numbers)
        assert (fitted.centre, fitted.spread) == (0.0, 1.0)
        assert score_onnx(block, fitted, **numbers)[5:-5, 5:-5] == pytest.approx(sigma, abs=0.01)


def test_the_fit_survives_json(tmp_path: Path) -> None:
    numbers = exported(tmp_path / "m.onnx")._asdict()
    fitted = fit_onnx([pair(50, 50)], **numbers)
    assert OnnxFit(**json.loads(json.dumps(dataclasses.asdict(fitted)))) == fitted
    assert fitted.sha256 == numbers["model_sha256"]
    hidden = pair(20, 20)._replace(valid=np.zeros((20, 20), bool))
    assert fit_onnx([hidden], **numbers).spread == 1.0
    other = dataclasses.replace(fitted, sha256="0" * 64)
    with pytest.raises(ConfigError, match="the pair was fitted with 0000"):
        score_onnx(pair(20, 20), other, **numbers)


def test_declared_fill_is_what_the_model_sees(tmp_path: Path) -> None:
    """The difference of two fills is 0, so a fill of 7 shows only where one date had it alone: nowhere."""
    block = pair(40, 40)
    plain = run_model(load_model(*exported(tmp_path / "a.onnx")), block)
    filled = run_model(load_model(*exported(tmp_path / "b.onnx", fill="7.5")), block)
    assert (plain == filled).all()
    assert load_model(*exported(tmp_path / "b.onnx", fill="7.5")).fill == 7.5


REFUSED_CONTRACTS = [
    ({"output": ""}, "ecowatch.output is ''"),
    ({"output": "percent"}, "one of score, probability, logit"),
    ({"reach_px": ""}, "ecowatch.reach_px is ''"),
    ({"reach_px": "far"}, "ecowatch.reach_px is 'far'"),
    ({"reach_px": "9", "side": 16}, "do not fit a side of 16 px"),
    ({"stride_px": "3"}, "a power of two"),
    ({"bands": "red,green"}, "names 2 bands, the input has 3"),
    ({"fill": "nan"}, "ecowatch.fill is 'nan'"),
]


@pytest.mark.parametrize(("contract", "message"), REFUSED_CONTRACTS)
def test_a_contract_that_does_not_hold_is_refused(tmp_path: Path, contract: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_model(*exported(tmp_path / "m.onnx", **contract))
    assert caught.value.code == "MODEL_CONTRACT"


def code_of(error: pytest.ExceptionInfo[EcowatchError]) -> str:
    return error.value.code


def test_a_missing_changed_or_strange_file_is_refused(tmp_path: Path) -> None:
    file = exported(tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="no such file") as caught:
        load_model(str(tmp_path / "absent.onnx"), file.model_sha256)
    assert code_of(caught) == "MODEL_MISSING"
    with pytest.raises(ConfigError, match=f"its SHA-256 is {file.model_sha256}, not 1234") as caught:
        load_model(file.model, "1234")
    assert code_of(caught) == "MODEL_DIGEST"
    text = tmp_path / "text.onnx"
    text.write_text("no model at all")
    with pytest.raises(ConfigError, match="no usable ONNX model") as caught:
        load_model(str(text), hashlib.sha256(text.read_bytes()).hexdigest())
    assert code_of(caught) == "MODEL_UNREADABLE"


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    """The digest would not cover them, and the runtime would open any path they name."""
    model = onnx.load(exported(tmp_path / "m.onnx").model)
    onnx.save_model(model, tmp_path / "e.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    digest = hashlib.sha256((tmp_path / "e.onnx").read_bytes()).hexdigest()
    with pytest.raises(ConfigError, match="weights lie in another file") as caught:
        load_model(str(tmp_path / "e.onnx"), digest)
    assert code_of(caught) == "MODEL_EXTERNAL"


def test_other_bands_are_refused(tmp_path: Path) -> None:
    file = exported(tmp_path / "m.onnx", bands="red,green,nir")
    model = load_model(*file)
    require_roles(model, ("red", "green", "nir"))
    with pytest.raises(ConfigError, match="wants red, green, nir, the pair has red, green, blue"):
        require_roles(model, ("red", "green", "blue"))
    four = np.zeros((4, 8, 8), np.float32)
    with pytest.raises(ConfigError, match="wants 3 bands, the pair has 4 and 4") as caught:
        run_model(model, PairBlock(four, four, np.ones((8, 8), bool)))
    assert code_of(caught) == "MODEL_BANDS"


@pytest.mark.parametrize("model", [{"reach_px": "0"}, {"reach_px": "1", "pooled": True, "stride_px": "1"}])
def test_a_reach_declared_too_small_is_refused(tmp_path: Path, model: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"pixels further than \d px away move its output") as caught:
        load_model(*exported(tmp_path / "m.onnx", **model))
    assert code_of(caught) == "MODEL_REACH"


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ({"channels": 2}, "MODEL_OUTPUT_SHAPE"),
        ({"tail": ("GlobalMaxPool",)}, "MODEL_OUTPUT_SHAPE"),
        ({"tail": ("Flatten",)}, "MODEL_OUTPUT_SHAPE"),
    ],
)
def test_an_output_of_another_shape_is_refused_when_loaded(tmp_path: Path, model: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigError, match=r"float32 \(1, 1, ") as caught:
        load_model(*exported(tmp_path / "m.onnx", **model))
    assert code_of(caught) == code


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ({"tail": ("Neg", "Log")}, "MODEL_OUTPUT_NAN"),
        ({"output": "probability", "tail": ("Exp",)}, "MODEL_OUTPUT_RANGE"),
    ],
)
def test_an_output_without_meaning_is_refused(tmp_path: Path, model: dict[str, Any], code: str) -> None:
    loaded = load_model(*exported(tmp_path / "m.onnx", **model))
    with pytest.raises(ConfigError) as caught:
        run_model(loaded, pair(30, 30))
    assert code_of(caught) == code


def test_without_the_runtime_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = exported(tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UnavailableError, match=r"pip install 'ecowatch\[ml\]'") as caught:
        load_model(*file)
    assert code_of(caught) == "ML_MISSING"
