"""Results of an evaluation as rows for programs and as a page for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ..review import software_versions as versions
from .evaluate import Evaluation, PairResult

_HEAD = """# Accuracy

Written by `ecowatch evaluate FOLDER --out docs/accuracy.md` (`make accuracy`). Every labelled pair goes through the review's
own code, one pipeline file per class of sensor, nothing set for a single pair; the simple methods beside it are untuned. Flags
are the pixels under the published patches. What the columns mean and cannot tell stands in [methods.md](methods.md).
"""

_MEASURES = ("f1", "iou", "kappa", "oa", "object_recall", "flagged_share")


def as_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return one object per pair with the keys set, pair, family and the measures; null where a label cannot tell."""
    return [_row(result) for result in evaluation.pipelines]


def _row(result: PairResult) -> dict[str, Any]:
    measures = {**result.agreement._asdict(), "object_recall": result.object_recall}
    measures["flagged_share"] = result.flagged_share
    rounded = {key: None if measures[key] is None else round(measures[key], 4) for key in _MEASURES}
    return {"set": result.set_name, "pair": result.name, "family": result.family, **rounded}


def as_table(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Return header and rows for a terminal, baselines under the pipeline they stand beside."""
    header = ["family", "set", "pair", "method", "F1", "IoU", "kappa", "OA", "objects", "flagged"]
    rows = []
    for result in evaluation.pipelines:
        for each in (result, *_beside(evaluation, result)):
            row = _row(each)
            cells = ["" if row[key] is None else f"{row[key]:.3f}" for key in _MEASURES]
            rows.append([each.family, each.set_name, each.name, each.method, *cells])
    return header, rows


def as_markdown(evaluation: Evaluation) -> str:
    """Return the page ``docs/accuracy.md``: a table per family, the baselines beside, sizes, versions."""
    families = sorted({result.family for result in evaluation.pipelines})
    told = ", ".join(f"{name} {number}" for name, number in versions().items())
    parts = [_HEAD, f"Measured on {datetime.now(UTC).date().isoformat()} with {told}.", ""]
    parts += [f"- pipeline `{name}`, digest `{digest[:16]}`" for name, digest in evaluation.digests.items()]
    for family in families:
        parts += ["", f"## {family}", "", *_family(evaluation, family)]
    parts += ["", "## Objects found, by size", "", *_sizes(evaluation.pipelines)]
    return "\n".join(parts) + "\n"


def _family(evaluation: Evaluation, family: str) -> list[str]:
    lines = [
        "| set | pair | method | F1 | IoU | kappa | OA | object recall | flagged | typed natural | natural or undetermined |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in evaluation.pipelines:
        if result.family != family:
            continue
        lines.append(_line(result, bold=True))
        lines += [_line(baseline, bold=False) for baseline in _beside(evaluation, result)]
    return lines


def _beside(evaluation: Evaluation, result: PairResult) -> list[PairResult]:
    return [b for b in evaluation.baselines if (b.set_name, b.name) == (result.set_name, result.name)]


def _line(result: PairResult, *, bold: bool) -> str:
    row = _row(result)
    cells = ["–" if row[key] is None else f"{row[key]:.3f}" for key in _MEASURES]
    cells += ["–" if v is None else f"{v:.2f}" for v in (result.natural_share, result.unnamed_share)]
    method = f"**{result.method}**" if bold else result.method
    if result.error is not None:
        method += f" ({result.error.split(':', maxsplit=1)[0]})"
    return f"| {result.set_name} | {result.name} | {method} | {' | '.join(cells)} |"


def _sizes(results: Sequence[PairResult]) -> list[str]:
    lines = ["| family | from m² | objects | found | recall |", "|---|---|---|---|---|"]
    for family in sorted({r.family for r in results}):
        totals: dict[float, list[int]] = {}
        for result in results:
            for size in result.sizes if result.family == family else ():
                total = totals.setdefault(size.from_m2, [0, 0])
                total[0] += size.objects
                total[1] += size.found
        lines += [
            f"| {family} | {low:.0f} | {objects} | {found} | {found / objects:.2f} |"
            for low, (objects, found) in sorted(totals.items())
            if objects
        ]
    return lines
