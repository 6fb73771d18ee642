"""Commands on the accounts of a review: resume, and the part of status that speaks of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import EcowatchError, LockedError
from ..texts import Language, text
from .reviews import EnterOption, Entry, ReissueOption, app, carry_out, load_settings
from .teller import ClusterFile, LangOption, LogForm, LogOption, ReviewFile, Teller, errors_told, language_of

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
            step = text(f"step_{stage}", teller.language)
            done = text("tasks_line", teller.language, stage=step, **counts)
            left = text("left_line", teller.language, stage=step, left=counts["left"])
            teller.result(f"{done}; {left}", stage=stage, **counts)
    carry_out(review, cluster, teller, Entry(ledger, reissue), tuple(told["only"]))


def _to_take_up(review: Path) -> dict[str, Any]:
    from ..review import standing  # noqa: PLC0415

    settings, _ = load_settings(review, None)
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
    from ..review import standing  # noqa: PLC0415

    settings, _ = load_settings(review, None)
    return {"review": settings.name, "period": settings.period} | standing(settings.runs / settings.name)


def tell_standing(teller: Teller, told: dict[str, Any]) -> None:
    """Tell how a run stands: one line, a table of its stages, and what failed."""
    state = text(f"state_{told['state']}", teller.language)
    if told["state"] == "none":
        teller.result(f"{told['review']} {told['period']}: {state}")
        return
    teller.result(text("status_line", teller.language, **(told | {"run": told["run_id"], "state": state})))
    teller.table(_header(teller.language), _rows(told, teller.language))
    if told["error"]:
        teller.result(told["error"])
    for failure in told["failures"]:
        teller.result(f"{failure['area_id']} {failure['what']}: {failure['error']}")


def _header(language: Language) -> list[str]:
    return [text(name, language) for name in ("stage", "area", *_COLUMNS.values())]


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
