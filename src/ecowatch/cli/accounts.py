"""Commands on the accounts of a review: resume, and the part of status that speaks of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import EcowatchError, LockedError
from ..texts import Language, text
from .options import ClusterFile, EnterOption, LangOption, LogOption, ReissueOption, ReviewFile
from .reviews import Entry, app, carry_out, load_review
from .teller import LogForm, Teller, errors_told, language_of

_COLUMNS = {
    "expected": "expected",
    "produced": "produced",
    "skipped": "kept",
    "failed": "failed",
    "quarantined": "quarantined_tasks",
    "left": "left",
}


@app.command()
def resume(
    review: ReviewFile,
    cluster: ClusterFile = None,
    ledger: EnterOption = None,
    reissue: ReissueOption = "",
    log: LogOption = LogForm.AUTO,
    lang: LangOption = None,
) -> None:
    """Take up the last run of a review that did not end well; only unfinished tasks are carried out."""
    teller = Teller(log, language_of(lang))
    with errors_told(teller):
        told = _to_take_up(review)
        values = {"run": told["run_id"], "attempt": told["attempt"], "updated": told["updated"]}
        state = text(f"state_{told['state']}", teller.language)
        teller.result(text("resume_line", teller.language, state=state, **values), state=told["state"], **values)
        for stage, counts in told["stages"].items():
            # Of a stage that was not begun nobody knows yet how many tasks it has.
            if counts["expected"]:
                done = text("tasks_line", teller.language, stage=text(f"step_{stage}", teller.language), **counts)
                left = text("left_line", teller.language, left=counts["left"])
                teller.result(f"{done}; {left}", stage=stage, **counts)
    carry_out(review, cluster, teller, Entry(ledger, reissue), tuple(told["only"]))


def _to_take_up(review: Path) -> dict[str, Any]:
    from ..review import standing  # noqa: PLC0415

    settings = load_review(review)
    folder = settings.runs / settings.name
    told = standing(folder)
    if told["state"] == "running":
        who = f"{told['host']}, process {told['pid']}, since {told['started']}"
        raise LockedError("REVIEW_LOCKED", folder, f"a run is under way: {who}", "wait for it, or stop it")
    if told["state"] in ("none", "done"):
        finding = "no run was begun" if told["state"] == "none" else f"its last run {told['run_id']} is complete"
        raise EcowatchError(
            "NOTHING_TO_RESUME", folder, finding, "'ecowatch run' begins one, or tells of the last again"
        )
    return told


def review_standing(review: Path) -> dict[str, Any]:
    """Return how the last or current run of a review file stands."""
    from ..review import shards_standing, standing  # noqa: PLC0415

    settings = load_review(review)
    folder = settings.runs / settings.name
    named = {"review": settings.name, "period": settings.period}
    return named | standing(folder) | {"shards": shards_standing(folder)}


def tell_standing(teller: Teller, told: dict[str, Any]) -> None:
    """Tell how a run and its shards stand: a line and a table of each, and what failed."""
    state = text(f"state_{told['state']}", teller.language)
    if told["state"] == "none":
        teller.result(f"{told['review']} {told['period']}: {state}")
    else:
        teller.result(text("status_line", teller.language, **(told | {"run": told["run_id"], "state": state})))
        teller.table(_header(teller.language, "stage", "area"), _rows(told, teller.language))
        _tell_failures(teller, told)
    if told["shards"]:
        begun, of = len(told["shards"]), next(iter(told["shards"])).partition("/")[2]
        teller.result(text("shards_line", teller.language, begun=begun, of=of))
        teller.table(_header(teller.language, "shard", "run_state", "stage"), _shard_rows(told, teller.language))
        for shard in told["shards"].values():
            _tell_failures(teller, shard)


def _tell_failures(teller: Teller, told: dict[str, Any]) -> None:
    if told["error"]:
        teller.result(told["error"])
    for failure in told["failures"]:
        teller.result(f"{failure['area_id']} {failure['what']}: {failure['error']}")


def _header(language: Language, *names: str) -> list[str]:
    return [text(name, language) for name in (*names, *_COLUMNS.values())]


def _shard_rows(told: dict[str, Any], language: Language) -> list[list[str]]:
    rows = []
    for name, shard in told["shards"].items():
        state = text(f"state_{shard['state']}", language)
        for stage, counts in shard["stages"].items():
            if counts["expected"]:
                numbers = (str(counts[column]) for column in _COLUMNS)
                rows.append([name, state, text(f"step_{stage}", language), *numbers])
    return rows


def _rows(told: dict[str, Any], language: Language) -> list[list[str]]:
    rows = []
    for stage, counts in told["stages"].items():
        name = text(f"step_{stage}", language)
        rows.append([name, "", *(str(counts[column]) for column in _COLUMNS)])
        for area_id, own in told["areas"][stage].items():
            whole = {column: own.get(column, 0) for column in _COLUMNS}
            whole["left"] = whole["expected"] - whole["produced"] - whole["skipped"] - whole["failed"]
            # Areas that are done are many; those that lack something are what is looked for.
            if whole["left"] or whole["failed"]:
                rows.append(["", area_id, *(str(whole[column]) for column in _COLUMNS)])
    return rows
