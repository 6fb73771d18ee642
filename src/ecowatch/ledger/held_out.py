"""Verdicts as examples, the part of them that no model ever learns from, and what that part says of a ranking.

Three problems in ten, by the hash of their identity, are held out: a draw that nobody can steer, that never changes, and that
keeps all patches of a site on one side. It is a probability sample of the patches that were given a verdict. How far it
speaks for those that were not is a matter of how reviewers chose; the weights mend what depends on pipeline and stage alone.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..codes import VerdictKind
from ..errors import LedgerError
from .features import facts_of
from .store import Ledger

Array = np.ndarray[Any, Any]

HELD_OUT_SHARE = 0.3
MIN_VERDICTS = 30
"""Verdicts of each kind, to learn from and to judge by: with fewer, a recall is off by a fifth by chance alone."""
QUEUE_LENGTHS = (10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000)
"""Where recall is compared: so many patches read from the top of the queue. None below ten."""

_NEAR = 1e-9
_QUEUE = "problem_id <> '' AND direction = 'gain' ORDER BY patch_id"


class Example(NamedTuple):
    """A patch with what reviewers said of it: problem or none, and for a problem its activity."""

    patch: Mapping[str, Any]
    is_problem: bool
    activity_code: str
    held_out: bool


@dataclass(frozen=True)
class Examples:
    """Everything a model is made of and judged by.

    Parameters
    ----------
    rows
        In the order of the identities of their patches.
    population
        Number of patches of the ledger that add to a problem, by stratum (pipeline and stage), with or without verdict.
    conflicting
        Patches left out because reviewers disagree on them.
    """

    rows: tuple[Example, ...]
    population: Mapping[tuple[str, str], int]
    conflicting: int

    @property
    def learned(self) -> list[Example]:
        """What a model may learn from."""
        return [row for row in self.rows if not row.held_out]

    @property
    def held(self) -> list[Example]:
        """What it is judged by."""
        return [row for row in self.rows if row.held_out]


class AtLength(NamedTuple):
    """Recall and precision when so many patches are read from the top, in the present order and in the model's."""

    length: int
    recall_now: float
    recall_model: float
    precision_now: float
    precision_model: float

    @property
    def lower(self) -> bool:
        """Whether the model finds fewer of the true problems."""
        return self.recall_model < self.recall_now - _NEAR


@dataclass(frozen=True)
class Judgement:
    """A model before and after, on the verdicts that were held out.

    Parameters
    ----------
    rows
        By length of the queue.
    problems, others
        Verdicts of each kind that were held out.
    covered_share
        Patches of the ledger that lie in strata with such verdicts, 0–1; nothing is known of the rest.
    activity_now, activity_model
        Share of the true problems whose activity is right; None where the model names none.
    """

    rows: tuple[AtLength, ...]
    problems: int
    others: int
    covered_share: float
    activity_now: float
    activity_model: float | None

    def refuse_if_lower(self, where: str) -> None:
        """Refuse a model that finds fewer of the true problems at any length of the queue.

        Raises
        ------
        LedgerError
            ``MODEL_LOWERS_RECALL`` with the lengths.
        """
        worse = [row for row in self.rows if row.lower]
        if worse:
            told = ", ".join(f"{r.recall_model:.3f} < {r.recall_now:.3f} of the first {r.length}" for r in worse)
            raise LedgerError("MODEL_LOWERS_RECALL", where, told, "keep the present order; fit anew with more verdicts")


def is_held_out(problem_id: str) -> bool:
    """Tell whether a problem is of the three in ten that no model learns from."""
    number = int.from_bytes(hashlib.sha256(problem_id.encode()).digest()[:8], "big")
    return number < HELD_OUT_SHARE * 2**64


def examples_of(ledger: Ledger) -> Examples:
    """Read the verdicts of a ledger as examples.

    A verdict on a patch speaks for that patch, one on a problem for all its patches; of each reviewer the last counts.
    ``unsure`` and ``field_check`` say neither yes nor no.
    """
    roots = {row["problem_id"]: row["merged_into"] for row in ledger.rows("problem")}
    said: defaultdict[str, dict[str, tuple[int, bool, str]]] = defaultdict(dict)
    for row in ledger.rows("verdict", "1 ORDER BY seq"):
        if row["verdict"] in (VerdictKind.PROBLEM, VerdictKind.NO_PROBLEM):
            about = row["patch_id"] or f"problem {row['problem_id']}"
            word = row["seq"], row["verdict"] == VerdictKind.PROBLEM, row["activity_code"]
            said[about][row["reviewer"]] = word
    rows, conflicting, population = [], 0, Counter[tuple[str, str]]()
    for patch in map(dict, ledger.rows("patch", _QUEUE)):
        population[_stratum(patch)] += 1
        words = said.get(f"problem {patch['problem_id']}", {}) | said.get(patch["patch_id"], {})
        if len({is_problem for _, is_problem, _ in words.values()}) > 1:
            conflicting += 1
        elif words:
            _, is_problem, activity = max(words.values())
            held = is_held_out(_root(patch["problem_id"], roots))
            rows.append(Example(patch, is_problem, activity or patch["activity_code"], held))
    return Examples(tuple(rows), population, conflicting)


def _root(problem_id: str, merged_into: Mapping[str, str]) -> str:
    while merged_into.get(problem_id):
        problem_id = merged_into[problem_id]
    return problem_id


def _stratum(patch: Mapping[str, Any]) -> tuple[str, str]:
    return patch["pipeline"], str(facts_of(patch).get("stage") or "")


def refuse_too_few(rows: Sequence[Example], purpose: str) -> None:
    """Refuse fewer than `MIN_VERDICTS` of either kind.

    Raises
    ------
    LedgerError
        ``NOT_ESTIMABLE`` with the numbers.
    """
    problems = sum(row.is_problem for row in rows)
    if min(problems, len(rows) - problems) < MIN_VERDICTS:
        found = f"{problems} patches with the verdict problem and {len(rows) - problems} with no_problem to {purpose}"
        raise LedgerError("NOT_ESTIMABLE", "verdicts", found, f"{MIN_VERDICTS} of each are needed; go on reviewing")


def weights_of(rows: Sequence[Example], population: Mapping[tuple[str, str], int]) -> Array:
    """Return how many patches of the ledger each example stands for: patches of its stratum over examples of it."""
    strata = [_stratum(row.patch) for row in rows]
    drawn = Counter(strata)
    return np.array([population[stratum] / drawn[stratum] for stratum in strata])


def judged(
    examples: Examples, scores: Array, activities: Sequence[str] | None, confidence: Array | None = None
) -> Judgement:
    """Compare the order of a model with the present one, on what was held out.

    Parameters
    ----------
    examples
        With at least `MIN_VERDICTS` of each kind held out.
    scores
        Of the model, one per held-out example.
    activities
        Suggested by the model; None where it suggests none.
    confidence
        What the present order goes by; that of the patches without it.

    Raises
    ------
    LedgerError
        ``NOT_ESTIMABLE``.

    Source
    ------
    Särndal, Swensson & Wretman (1992), section 5.7: ratio of totals, each weighted by stratum.
    """
    rows = examples.held
    refuse_too_few(rows, "judge by")
    weights = weights_of(rows, examples.population)
    truth = np.array([row.is_problem for row in rows])
    now = np.array([present_score(row.patch) for row in rows]) if confidence is None else confidence
    orders = [_order(rows, now), _order(rows, scores)]
    lengths = [length for length in QUEUE_LENGTHS if length < len(rows)]
    table = []
    for length in lengths:
        (r0, p0), (r1, p1) = (_recall_precision(truth, weights, order[:length]) for order in orders)
        table.append(AtLength(length, r0, r1, p0, p1))
    covered = sum(examples.population[s] for s in {_stratum(row.patch) for row in rows})
    true = weights * truth
    present = [row.patch["activity_code"] for row in rows]
    return Judgement(
        tuple(table),
        int(truth.sum()),
        int((~truth).sum()),
        covered / max(sum(examples.population.values()), 1),
        _agreement(rows, present, true),
        None if activities is None else _agreement(rows, activities, true),
    )


def present_score(patch: Mapping[str, Any]) -> float:
    """Return what the queue is ordered by without a model: the confidence of the named activity."""
    return float(facts_of(patch).get("confidence") or 0.0)


def _order(rows: Sequence[Example], scores: Array) -> Array:
    """Highest first; of equal scores the larger patch, then by identity: both orders break ties alike."""
    keys = [(-float(s), -row.patch["area_m2"], row.patch["patch_id"]) for s, row in zip(scores, rows, strict=True)]
    return np.array(sorted(range(len(rows)), key=keys.__getitem__), np.int64)


def _recall_precision(truth: Array, weights: Array, top: Array) -> tuple[float, float]:
    found = float((weights * truth)[top].sum())
    return found / float((weights * truth).sum()), found / float(weights[top].sum())


def _agreement(rows: Sequence[Example], named: Sequence[str], weights: Array) -> float:
    right = np.array([row.activity_code == name for row, name in zip(rows, named, strict=True)])
    return float((weights * right).sum() / weights.sum())
