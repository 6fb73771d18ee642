"""Learning from verdicts: a model that puts patches in another order and names their activity anew, and drops none.

A model is trees as JSON, nothing that is executed when it is read. It carries the pipelines whose patches it has learned from,
and the head of the ledger; it is refused where, on verdicts it has never seen, it finds true problems later than the present
order does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import LedgerError, UnavailableError
from ..intake import MAX_TEXT_BYTES, FileKind, admit, read_json
from .event import canonical, digest_of
from .features import FEATURES, feature_table
from .forest import Forest, Tree, forest_json, forest_of, votes
from .held_out import Example, Examples, Judgement, examples_of, judged, refuse_too_few
from .store import Ledger

Array = np.ndarray[Any, Any]

FORMAT = "ecowatch-patch-model/1"
_SEED = 4
_TREES, _DEPTH, _LEAF_ROWS = 200, 10, 5
_MIN_OF_ACTIVITY = 10
_PROBLEM = "problem"


@dataclass(frozen=True)
class PatchModel:
    """What was learned, and from what.

    Parameters
    ----------
    forest
        Its class ``problem`` is the score.
    typing
        Names activities; None where the verdicts do not carry it.
    pipelines
        By name, each version and digest whose patches were learned from.
    head
        Number and hash of the ledger's last event.
    verdicts
        Number of patches learned from, by kind; and those left out because reviewers disagree.
    trained_with
        Name and version of the library.
    """

    forest: Forest
    typing: Forest | None
    pipelines: Mapping[str, Sequence[Mapping[str, Any]]]
    head: tuple[int, str]
    verdicts: Mapping[str, int]
    trained_with: str

    def content(self) -> dict[str, Any]:
        """The model as plain JSON values, with the digest over all of them."""
        told = {
            "format": FORMAT,
            "features": list(FEATURES),
            "seed": _SEED,
            "pipelines": {name: list(known) for name, known in self.pipelines.items()},
            "ledger_head": list(self.head),
            "verdicts": dict(self.verdicts),
            "trained_with": self.trained_with,
            "forest": forest_json(self.forest),
            "typing": None if self.typing is None else forest_json(self.typing),
        }
        return told | {"digest": digest_of(told)}

    @property
    def text(self) -> str:
        """The model file; the same ledger gives the same bytes."""
        return canonical(self.content()) + "\n"


class Ranked(NamedTuple):
    """A patch in the order of a model: its score 0–1, the activity it suggests and how sure of that it is."""

    patch_id: str
    score: float
    activity_code: str
    activity_share: float | None


class Learned(NamedTuple):
    """A model that may be used, and what the verdicts held out say of it."""

    model: PatchModel
    judgement: Judgement


def learn(ledger: Ledger) -> Learned:
    """Learn from the verdicts of a ledger, and judge what was learned on those held out.

    Activities are learned where at least ten verdicts name each of two; they are left out again where the rules that named
    them before do better.

    Raises
    ------
    UnavailableError
        ``ML_MISSING`` without the extra ``ml``.
    LedgerError
        ``NOT_ESTIMABLE`` with too few verdicts to learn from or to judge by, ``MODEL_LOWERS_RECALL``.
    """
    examples = examples_of(ledger)
    refuse_too_few(examples.learned, "learn from")
    refuse_too_few(examples.held, "judge by")
    model = _fitted(examples, _pipelines(ledger, examples.learned), (ledger.head.seq, ledger.head.hash))
    judgement = judge_model(model, examples)
    if judgement.activity_model is not None and judgement.activity_model < judgement.activity_now:
        model = replace(model, typing=None)
        judgement = judge_model(model, examples)
    judgement.refuse_if_lower("model")
    return Learned(model, judgement)


def judge_model(model: PatchModel, examples: Examples) -> Judgement:
    """Compare a model with the present order, on verdicts that no model learns from.

    Raises
    ------
    LedgerError
        ``NOT_ESTIMABLE``.
    """
    held = examples.held
    ranked = {r.patch_id: r for r in rank([row.patch for row in held], model)}
    own = [ranked[row.patch["patch_id"]] for row in held]
    activities = None if model.typing is None else [r.activity_code for r in own]
    return judged(examples, np.array([r.score for r in own]), activities)


def rank(patches: Sequence[Mapping[str, Any]], model: PatchModel) -> list[Ranked]:
    """Put patches in the order of a model; every one of them comes back.

    Parameters
    ----------
    patches
        Rows of the view `patch`.
    model
        That has been judged.

    Returns
    -------
    list of Ranked
        Highest score first, then by identity.
    """
    if not patches:
        return []
    table = feature_table(patches)
    scores = votes(model.forest, table)[:, model.forest.classes.index(_PROBLEM)]
    named: list[tuple[str, float | None]] = [(patch["activity_code"], None) for patch in patches]
    if model.typing is not None:
        shares = votes(model.typing, table)
        best = shares.argmax(axis=1)
        named = [(model.typing.classes[k], float(shares[i, k])) for i, k in enumerate(best)]
    found = [Ranked(p["patch_id"], float(s), *n) for p, s, n in zip(patches, scores, named, strict=True)]
    return sorted(found, key=lambda r: (-r.score, r.patch_id))


def load_model(path: Path) -> PatchModel:
    """Read a model file.

    Raises
    ------
    IntakeError
        Where it is no JSON file of a size that is read.
    LedgerError
        ``MODEL_INVALID`` where it is no model, was changed, or belongs to another version of the features.
    """
    told = read_json(admit(path, roots=(path.parent,), kinds={FileKind.GEOJSON}, max_bytes=MAX_TEXT_BYTES))
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise _invalid(path, f"it is no {FORMAT}")
    if told.get("features") != list(FEATURES):
        raise _invalid(path, "it asks for other features than this program knows")
    content = {name: value for name, value in told.items() if name != "digest"}
    if digest_of(content) != told.get("digest"):
        raise _invalid(path, "its digest does not fit: it was changed, or cut off")
    forest = forest_of(told.get("forest"), features=len(FEATURES), where=str(path))
    typing = told.get("typing")
    if _PROBLEM not in forest.classes:
        raise _invalid(path, "it does not say what is a problem")
    try:
        return PatchModel(
            forest,
            None if typing is None else forest_of(typing, features=len(FEATURES), where=str(path)),
            {str(name): [dict(one) for one in known] for name, known in told["pipelines"].items()},
            (int(told["ledger_head"][0]), str(told["ledger_head"][1])),
            {str(kind): int(number) for kind, number in told["verdicts"].items()},
            str(told["trained_with"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise _invalid(path, f"a part of it is missing or of another kind ({error})") from error


def refuse_stale(model: PatchModel, ledger: Ledger, where: object) -> None:
    """Refuse a model that has learned nothing of a pipeline's present version.

    Raises
    ------
    LedgerError
        ``MODEL_STALE`` with the pipeline.
    """
    newest: dict[str, Any] = {}
    for unit in ledger.rows("unit", "1 ORDER BY seq"):
        newest |= json.loads(unit["inputs"]).get("pipelines", {})
    for name, learned in sorted(model.pipelines.items()):
        if name in newest and newest[name] not in learned:
            now = newest[name].get("version")
            known = ", ".join(str(one.get("version")) for one in learned)
            finding = f"pipeline {name} is of version {now} now, the model has learned from {known}"
            raise LedgerError("MODEL_STALE", where, finding, "review patches of that version, then fit anew")


def _invalid(path: Path, finding: str) -> LedgerError:
    return LedgerError("MODEL_INVALID", path, finding, "'ecowatch learn fit' writes one")


def _pipelines(ledger: Ledger, rows: Sequence[Example]) -> dict[str, list[Mapping[str, Any]]]:
    inputs = {(u["area_id"], u["period"]): json.loads(u["inputs"]).get("pipelines", {}) for u in ledger.rows("unit")}
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        name = row.patch["pipeline"]
        known = inputs.get((row.patch["area_id"], row.patch["period"]), {}).get(name)
        found.setdefault(name, {})
        if known is not None:
            found[name][canonical(known)] = known
    return {name: [known[text] for text in sorted(known)] for name, known in sorted(found.items())}


def _fitted(examples: Examples, pipelines: Mapping[str, Any], head: tuple[int, str]) -> PatchModel:
    rows = examples.learned
    library = _sklearn()
    table = feature_table([row.patch for row in rows])
    kinds = [_PROBLEM if row.is_problem else "no_problem" for row in rows]
    return PatchModel(
        _forest(table, kinds),
        _typing(table, rows),
        pipelines,
        head,
        {**Counter(kinds), "conflicting": examples.conflicting},
        f"scikit-learn {library.__version__}",
    )


def _typing(table: Array, rows: Sequence[Example]) -> Forest | None:
    codes = np.array([row.activity_code if row.is_problem else "" for row in rows])
    enough = [code for code, count in sorted(Counter(codes.tolist()).items()) if code and count >= _MIN_OF_ACTIVITY]
    chosen = np.isin(codes, enough)
    return _forest(table[chosen], codes[chosen].tolist()) if len(enough) > 1 else None


def _forest(table: Array, labels: Sequence[str]) -> Forest:
    """Random trees (Breiman 2001), with their numbers taken out of the library's objects."""
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415 - an extra

    made = RandomForestClassifier(
        n_estimators=_TREES, max_depth=_DEPTH, min_samples_leaf=_LEAF_ROWS, random_state=_SEED, n_jobs=1
    ).fit(table, np.array(labels))
    return Forest(tuple(str(name) for name in made.classes_), tuple(_tree(one.tree_) for one in made.estimators_))


def _tree(made: Any) -> Tree:
    leaf = made.children_left < 0
    # What a leaf never asks is written as zeros: the library leaves marks of its own there.
    feature, threshold = np.where(leaf, 0, made.feature), np.where(leaf, 0.0, made.threshold)
    left, right = (side.astype(np.int64) for side in (made.children_left, made.children_right))
    return Tree(left, right, feature.astype(np.int64), threshold, made.value[:, 0, :])


def _sklearn() -> Any:
    try:
        import sklearn  # noqa: PLC0415 - an extra: only who fits a model needs it
    except ImportError as error:
        raise UnavailableError(
            "ML_MISSING", "learn fit", f"scikit-learn cannot be imported ({error})", "pip install 'ecowatch[ml]'"
        ) from error
    return sklearn
