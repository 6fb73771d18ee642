"""Learning from verdicts: a model that helps, one that is refused, and files that cannot lie or run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from sklearn.ensemble import RandomForestClassifier
from typer.testing import CliRunner

from ecowatch.cli import app
from ecowatch.errors import IntakeError, LedgerError, UnavailableError
from ecowatch.ledger import Event, EventKind, Ledger, geometry_bytes, geometry_text
from ecowatch.ledger.event import canonical, digest_of
from ecowatch.ledger.features import FEATURES, MISSING, feature_table
from ecowatch.ledger.forest import Forest, forest_json, forest_of, votes
from ecowatch.ledger.held_out import Example, Examples, examples_of, is_held_out, judged, weights_of
from ecowatch.ledger.learn import Learned, _tree, judge_model, learn, load_model, rank, refuse_stale

ROLES = ("blue", "green", "red", "nir", "swir1", "swir2")
GREEN = np.array([0.04, 0.07, 0.05, 0.35, 0.18, 0.09])
BARE = np.array([0.14, 0.18, 0.24, 0.30, 0.38, 0.30])
FIELD = np.array([0.09, 0.11, 0.14, 0.24, 0.28, 0.20])
SHAPE = geometry_text(shapely.box(110.0, 35.0, 110.001, 35.0005))


def unit(version: str = "2", period: str = "2026H1") -> Event:
    pipelines = {"bitemporal": {"version": version, "digest": f"d{version}"}}
    payload = {
        "issue": 1,
        "inputs": {"pipelines": pipelines, "scenes": {}},
        "inputs_digest": "i",
        "run_id": "r",
        "observed_share": 1.0,
        "patches": 0,
        "continuing": [],
        "not_observed_problems": [],
        "unseen": [],
    }
    return Event(EventKind.UNIT_ENTERED, "a", period, payload=payload, at="2026-06-30")


def patch_event(name: str, *, facts: dict[str, Any], activity: str = "03", **changes: Any) -> Event:
    payload = {
        "issue": 1,
        "change_code": "1",
        "activity_code": activity,
        "direction": "gain",
        "area_m2": 5000.0,
        "before_date": "2025-05-01",
        "after_date": "2026-05-01",
        "pipeline": "bitemporal",
        "geometry": SHAPE,
        "facts": facts,
    }
    return Event(EventKind.PATCH_FOUND, "a", "2026H1", f"p{name}", f"t{name}", payload | changes, at="2026-05-01")


def verdict(name: str, kind: str, *, by: str = "li", activity: str = "", patch: bool = True) -> Event:
    payload = {"verdict": kind, "reason": "none", "note": ""} | ({"activity_code": activity} if activity else {})
    patch_id = f"t{name}" if patch else ""
    return Event(EventKind.VERDICT_GIVEN, "a", "2026H1", f"p{name}", patch_id, payload, actor=by, at="2026-07-01")


def facts_of(spectrum: np.ndarray[Any, Any], confidence: float, **more: Any) -> dict[str, Any]:
    told = {"before": GREEN, "after": spectrum}
    spectra = {f"spectrum_{k}": json.dumps(dict(zip(ROLES, v.tolist(), strict=True))) for k, v in told.items()}
    return {"confidence": confidence, "strength": 5.0, "stage": "confirmed", "observed_share": 1.0} | spectra | more


def simulated(count: int, *, told_by: str, learned_right: bool = True, seed: int = 0) -> list[Event]:
    """Patches of which four in ten are mines: shown by their spectra, or by the confidence that they have already.

    Where `learned_right` is False, verdicts outside the held-out part are drawn by lot.
    """
    rng = np.random.default_rng(seed)
    events = [unit()]
    for number in range(count):
        name, is_problem = f"{number:04d}", bool(rng.random() < 0.4)
        shown = is_problem if told_by == "spectra" else bool(rng.random() < 0.5)
        spectrum = np.abs((BARE if shown else FIELD) + rng.normal(0, 0.02, 6))
        confidence = rng.random() if told_by == "spectra" else 0.5 * is_problem + 0.5 * rng.random()
        said = is_problem if learned_right or is_held_out(f"p{name}") else bool(rng.random() < 0.5)
        quarry = is_problem and number % 2
        events.append(patch_event(name, facts=facts_of(spectrum, round(confidence, 3), shift_px=float(bool(quarry)))))
        kind = "problem" if said else "no_problem"
        events.append(verdict(name, kind, activity="04" if quarry and said else ""))
    return events


@pytest.fixture(scope="module")
def helpful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("learn") / "l.db"
    with Ledger.writer(path) as ledger:
        ledger.commit(simulated(360, told_by="spectra"))
    return path


@pytest.fixture(scope="module")
def learned(helpful: Path) -> Learned:
    with Ledger.reader(helpful) as ledger:
        return learn(ledger)


def entered(path: Path, events: list[Event]) -> Path:
    with Ledger.writer(path / "l.db") as ledger:
        ledger.commit(events)
    return path / "l.db"


def test_spectra_that_tell_put_true_problems_first(helpful: Path, learned: Learned) -> None:
    model, judgement = learned
    with Ledger.reader(helpful) as ledger:
        patches = [dict(row) for row in ledger.rows("patch")]
    ranked = rank(patches, model)
    assert {r.patch_id for r in ranked} == {p["patch_id"] for p in patches}, "a model drops nothing"
    assert [r.score for r in ranked] == sorted((r.score for r in ranked), reverse=True)
    assert judgement.problems >= 30 and judgement.covered_share == 1.0
    assert not any(row.lower for row in judgement.rows)
    thirty = next(row for row in judgement.rows if row.length == 30)
    # The true ones are told apart by their spectra; the order by confidence is one by lot.
    assert thirty.precision_model > 0.95 and thirty.precision_now < 0.7
    # Half of the mines are quarries by the reviewers' word, and the model has learned by what.
    assert judgement.activity_now == pytest.approx(0.5, abs=0.15)
    assert judgement.activity_model is not None and judgement.activity_model > 0.9
    assert {r.activity_code for r in ranked} == {"03", "04"}


def test_noise_is_refused(tmp_path: Path) -> None:
    """The present order is right, the verdicts to learn from are drawn by lot: true problems would come later."""
    path = entered(tmp_path, simulated(360, told_by="confidence", learned_right=False))
    with Ledger.reader(path) as ledger, pytest.raises(LedgerError, match=r"MODEL_LOWERS_RECALL.*<.*of the first"):
        learn(ledger)


def test_too_few_verdicts_are_not_estimable(tmp_path: Path) -> None:
    path = entered(tmp_path, simulated(60, told_by="spectra"))
    with Ledger.reader(path) as ledger, pytest.raises(LedgerError, match=r"NOT_ESTIMABLE.*30 of each are needed"):
        learn(ledger)
    # Enough to learn from, not enough to judge by.
    (tmp_path / "b").mkdir()
    path = entered(tmp_path / "b", simulated(150, told_by="spectra"))
    with Ledger.reader(path) as ledger, pytest.raises(LedgerError, match=r"NOT_ESTIMABLE.*to judge by"):
        learn(ledger)


def test_without_the_extra_it_says_what_to_install(helpful: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with (
        Ledger.reader(helpful) as ledger,
        pytest.raises(UnavailableError, match=r"ML_MISSING.*pip install 'ecowatch\[ml\]'"),
    ):
        learn(ledger)


def test_the_same_ledger_gives_the_same_bytes(helpful: Path, learned: Learned, tmp_path: Path) -> None:
    text = learned.model.text
    file = tmp_path / "model.json"
    file.write_text(text, "utf-8")
    read = load_model(file)
    assert read.text == text
    told = json.loads(text)
    with Ledger.reader(helpful) as ledger:
        again = learn(ledger)
        assert again.model.text == text and again.judgement == learned.judgement
        assert judge_model(read, examples_of(ledger)) == learned.judgement
        assert told["ledger_head"] == [ledger.head.seq, ledger.head.hash] and told["features"] == list(FEATURES)
    assert told["pipelines"] == {"bitemporal": [{"digest": "d2", "version": "2"}]}
    assert told["trained_with"].startswith("scikit-learn ")


def test_trees_say_what_the_library_says() -> None:
    rng = np.random.default_rng(3)
    table = rng.normal(size=(300, 6)).astype(np.float32)
    labels = np.array(["a", "b", "c"])[(table[:, 0] > 0).astype(int) + (table[:, 1] > 0.5)]
    made = RandomForestClassifier(n_estimators=25, max_depth=6, random_state=1).fit(table, labels)
    forest = Forest(tuple(made.classes_), tuple(_tree(one.tree_) for one in made.estimators_))
    asked = rng.normal(size=(500, 6)).astype(np.float32)
    # Ties with a threshold go the same way, too.
    asked[0] = [made.estimators_[0].tree_.threshold[0]] * 6
    again = forest_of(json.loads(canonical(forest_json(forest))), features=6, where="x")
    for trees in (forest, again):
        np.testing.assert_array_equal(votes(trees, asked), made.predict_proba(asked))


def _edited(change: Callable[[dict[str, Any]], object], *, redigest: bool = True) -> Callable[[Path, str], Path]:
    def make(folder: Path, text: str) -> Path:
        told = json.loads(text)
        change(told)
        if redigest:
            told["digest"] = digest_of({k: v for k, v in told.items() if k != "digest"})
        (folder / "m.json").write_text(canonical(told), "utf-8")
        return folder / "m.json"

    return make


def _inner(told: dict[str, Any]) -> tuple[dict[str, Any], int]:
    tree = told["forest"]["trees"][0]
    return tree, next(i for i, left in enumerate(tree["left"]) if left > 0)


def _loop(told: dict[str, Any]) -> None:
    tree, node = _inner(told)
    tree["left"][node] = node


def _nowhere(told: dict[str, Any]) -> None:
    tree, node = _inner(told)
    tree["right"][node] = 99_999


def _no_feature(told: dict[str, Any]) -> None:
    tree, node = _inner(told)
    tree["feature"][node] = len(FEATURES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_edited(lambda t: t.update(seed=5), redigest=False), "digest does not fit"),
        (_edited(lambda t: t.update(format="other")), "it is no ecowatch-patch-model"),
        (_edited(lambda t: t["features"].pop()), "other features"),
        (_edited(_loop), "leads back, or nowhere"),
        (_edited(_nowhere), "leads back, or nowhere"),
        (_edited(_no_feature), "a feature that is not there"),
        (_edited(lambda t: t["forest"]["trees"][0]["left"].pop()), "differ in length"),
        (_edited(lambda t: t["forest"]["trees"][0].update(threshold=["x"])), "no forest"),
        (_edited(lambda t: t["forest"].update(trees=[])), "without trees"),
        (_edited(lambda t: t["forest"].update(classes=["x", "y"])), "what is a problem"),
        (_edited(lambda t: t.pop("ledger_head")), "missing or of another kind"),
        (_edited(lambda t: t.update(verdicts=[])), "missing or of another kind"),
    ],
)
def test_a_model_from_elsewhere_is_checked_before_it_is_asked(
    learned: Learned, tmp_path: Path, change: Callable[[Path, str], Path], message: str
) -> None:
    with pytest.raises(LedgerError, match=rf"MODEL_INVALID .*{message}"):
        load_model(change(tmp_path, learned.model.text))


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    for name, data in (("pickle", b"\x80\x04\x95\x00."), ("cut", b'{"format": "ecow'), ("nan", b'{"a": NaN}')):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(IntakeError, match=r"FILE_KIND|JSON_INVALID"):
            load_model(tmp_path / name)


def test_a_model_of_another_pipeline_version_is_stale(helpful: Path, learned: Learned, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(learned.model.text, "utf-8")
    model = load_model(tmp_path / "m.json")
    with Ledger.reader(helpful) as ledger:
        refuse_stale(model, ledger, "m.json")
    path = entered(tmp_path, [unit(), unit("3", "2026H2")])
    with (
        Ledger.reader(path) as ledger,
        pytest.raises(LedgerError, match=r"MODEL_STALE m\.json: .* version 3 now, .* from 2"),
    ):
        refuse_stale(model, ledger, "m.json")


def test_what_verdicts_say_of_patches(tmp_path: Path) -> None:
    """The last word of each reviewer counts; on a problem it speaks for its patches; disagreement is no label."""
    facts = facts_of(BARE, 0.5)
    patches = [patch_event(name, facts=facts) for name in ("1", "2", "3", "4", "5")]
    lost = patch_event("6", facts=facts, direction="loss")
    words = [
        verdict("1", "no_problem"),
        verdict("1", "problem", activity="04"),
        verdict("2", "problem", patch=False),
        verdict("3", "problem"),
        verdict("3", "no_problem", by="wang"),
        verdict("4", "unsure"),
        verdict("6", "problem"),
    ]
    with Ledger.reader(entered(tmp_path, [unit(), *patches, lost, *words])) as ledger:
        found = examples_of(ledger)
    said = [(row.patch["patch_id"], row.is_problem, row.activity_code) for row in found.rows]
    assert said == [("t1", True, "04"), ("t2", True, "03")] and found.conflicting == 1
    assert found.population == {("bitemporal", "confirmed"): 5}


def test_a_merged_problem_is_held_out_with_the_one_it_went_into(tmp_path: Path) -> None:
    held = next(f"{n}" for n in range(100) if is_held_out(f"p{n}"))
    free = next(f"{n}" for n in range(100) if not is_held_out(f"p{n}"))
    problem = {"patches": [], "geometry": SHAPE, "area_m2": 1.0, "activity_code": "03", "state": "auto", "stock": 0}
    opened = [
        Event(EventKind.PROBLEM_OPENED, "a", "2026H1", f"p{name}", payload=problem | {"parents": []})
        for name in (held, free)
    ]
    merged = {"merged": [f"p{held}"], "parents": [f"p{held}"], "geometry": SHAPE, "area_m2": 1.0, "patches": []}
    events = [*opened, patch_event(held, facts=facts_of(BARE, 0.5)), verdict(held, "problem")]
    with Ledger.reader(entered(tmp_path, events)) as ledger:
        assert [row.held_out for row in examples_of(ledger).rows] == [True]
    with Ledger.writer(tmp_path / "l.db") as ledger:
        ledger.commit([Event(EventKind.PROBLEMS_MERGED, "a", "2026H1", f"p{free}", payload=merged)])
        assert [row.held_out for row in examples_of(ledger).rows] == [False]


def test_three_problems_in_ten_are_held_out() -> None:
    share = np.mean([is_held_out(f"problem {n}") for n in range(20_000)])
    assert share == pytest.approx(0.3, abs=0.01)


def example(number: int, is_problem: bool, stage: str, confidence: float) -> Example:
    patch = {"patch_id": f"t{number:03d}", "pipeline": "b", "area_m2": 1.0, "activity_code": "03"}
    return Example(patch | {"facts": {"stage": stage, "confidence": confidence}}, is_problem, "03", True)


def test_weights_and_recall_by_hand() -> None:
    """Two strata: one read in full, one of which every tenth patch was read."""
    few = [example(n, n < 15, "confirmed", 1.0 - n / 1000) for n in range(30)]
    many = [example(30 + n, n < 20, "one_date", 0.5 - n / 1000) for n in range(40)]
    examples = Examples((*few, *many), {("b", "confirmed"): 30, ("b", "one_date"): 400, ("b", "other"): 70}, 0)
    assert weights_of(examples.held, examples.population).tolist() == [1.0] * 30 + [10.0] * 40
    backwards = np.arange(70.0)
    found = judged(examples, backwards, None)
    at = {row.length: row for row in found.rows}
    assert sorted(at) == [10, 15, 20, 30, 50] and (found.problems, found.others) == (35, 35)
    # Now: the first thirty are the stratum read in full, 15 of all 15 + 20 × 10 problems.
    assert at[30].recall_now == pytest.approx(15 / 215) and at[30].precision_now == pytest.approx(0.5)
    assert at[50].recall_now == pytest.approx((15 + 200) / 215)
    # Backwards: the last thirty of the other stratum, ten of its problems among them.
    assert at[30].recall_model == pytest.approx(100 / 215) and at[30].precision_model == pytest.approx(100 / 300)
    assert found.covered_share == pytest.approx(430 / 500) and found.activity_now == 1.0
    with pytest.raises(LedgerError, match=r"MODEL_LOWERS_RECALL m: 0.*of the first 50"):
        found.refuse_if_lower("m")
    judged(examples, -backwards, None).refuse_if_lower("m")


def test_features_by_hand() -> None:
    """A rectangle of 0.001 by 0.0005 degrees at 35 degrees north, half a year later, with what is not known left out."""
    row = {
        "facts": canonical(
            facts_of(BARE, 0.75, zone_shares=json.dumps({"core": 0.25, "experimental": 0.75}), carrier="林地")
        ),
        "activity_code": "09",
        "area_m2": 1000.0,
        "direction": "gain",
        "before_date": "2025-05-01",
        "after_date": "2025-10-30",
        "geometry": geometry_bytes(shapely.box(110.0, 35.0, 110.001, 35.0005)),
    }
    (values,) = feature_table([row])
    found = dict(zip(FEATURES, values.tolist(), strict=True))
    assert found["confidence"] == 0.75 and found["log_area_m2"] == 3.0 and found["days_apart"] == 182
    assert found["core_share"] == 0.25 and found["width_m"] == MISSING and found["shift_px"] == MISSING
    assert found["before_ndvi"] == pytest.approx(0.75) and found["turn_red"] == pytest.approx(0.19)
    assert found["elongation"] == pytest.approx(2 * np.cos(np.radians(35.00025)), rel=1e-3)
    assert found["activity_09"] == found["carrier_forest"] == found["stage_confirmed"] == 1
    assert found["activity_03"] == found["carrier_wetland"] == 0
    # Undated, without outline, spectra or facts: known to be unknown.
    bare = row | {"facts": "{}", "geometry": None, "before_date": "", "after_date": ""}
    (values,) = feature_table([bare])
    found = dict(zip(FEATURES, values.tolist(), strict=True))
    assert found["days_apart"] == found["roughness"] == found["after_ndvi"] == found["confidence"] == MISSING
    assert feature_table([]).shape == (0, len(FEATURES))


def test_the_commands_write_judge_and_refuse(helpful: Path, tmp_path: Path) -> None:
    (tmp_path / "ledger.toml").write_text(f'path = "{helpful}"\n', "utf-8")
    model, of = tmp_path / "model.json", ["--ledger", str(tmp_path / "ledger.toml"), "--lang", "en"]
    fitted = CliRunner().invoke(app, ["learn", "fit", "--out", str(model), *of])
    assert fitted.exit_code == 0 and "recall model" in fitted.output and "activity right" in fitted.output
    told = CliRunner().invoke(app, ["learn", "judge", str(model), "--json", *of])
    assert told.exit_code == 0 and json.loads(told.output)["rows"][0]["lower"] is False
    # The same model in a ledger where it is no help: exit 65, and it says where.
    path = entered(tmp_path, simulated(360, told_by="confidence"))
    (tmp_path / "ledger.toml").write_text(f'path = "{path}"\n', "utf-8")
    worse = CliRunner().invoke(app, ["learn", "judge", str(model), *of])
    assert worse.exit_code == 65 and "MODEL_LOWERS_RECALL" in worse.output


def test_a_refused_model_is_not_written(tmp_path: Path) -> None:
    path = entered(tmp_path, simulated(60, told_by="spectra"))
    (tmp_path / "ledger.toml").write_text(f'path = "{path}"\n', "utf-8")
    out = tmp_path / "model.json"
    refused = CliRunner().invoke(app, ["learn", "fit", "--out", str(out), "--ledger", str(tmp_path / "ledger.toml")])
    assert refused.exit_code == 65 and "NOT_ESTIMABLE" in refused.output and not out.exists()
