"""Commands that test people's words: a claim of rectification against images, and a model learned from verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..codes import Rectification
from ..errors import ExitCode
from ..texts import Language, text
from .options import JsonOption, LangOption, LedgerFile, ReviewFile
from .reviews import app
from .teller import LogForm, Teller, errors_told, language_of, ledger_rules

if TYPE_CHECKING:
    from ..ledger import Event
    from ..ledger.held_out import Judgement
    from ..scenes.scene import Quarantined

claim_app = typer.Typer(help="Claims of rectification.", no_args_is_help=True)
learn_app = typer.Typer(help="Learning from verdicts (extra 'ml').", no_args_is_help=True)
app.add_typer(claim_app, name="claim")
app.add_typer(learn_app, name="learn")


@claim_app.command()
def check(
    review: ReviewFile,
    ledger: LedgerFile,
    problem: Annotated[
        list[str] | None,
        typer.Option("--problem", help="Identity of a problem; may be repeated. All claims without it."),
    ] = None,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Test claims of rectification against all scenes of a review; what images bear out moves to 'checked'."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger  # noqa: PLC0415
        from ..review.claims import check_claims, moves_of  # noqa: PLC0415
        from ..settings import Review, load  # noqa: PLC0415

        rules, settings = ledger_rules(ledger), load(Review, review)

        def tell(left: Quarantined) -> None:
            teller.warn(f"{text('quarantined', teller.language)}: {left}", code=left.code, file=left.where)

        # Images take minutes: nobody else is kept from writing meanwhile.
        with Ledger.reader(rules.path) as opened:
            events = check_claims(settings, opened, rules, problems=problem or (), quarantined=tell)
        with Ledger.writer(rules.path, wait_s=rules.lock_wait_s) as opened:
            moves = moves_of(opened, events)
            added = opened.commit([*events, *moves])
        if as_json:
            typer.echo(json.dumps([_plain(event) for event in events], ensure_ascii=False, indent=1))
            return
        if events:
            teller.table(_header(teller.language), [_row(event, teller.language) for event in events])
        teller.result(text("claims_checked", teller.language, count=len(events), moved=len(moves), added=added))


@learn_app.command()
def fit(
    ledger: LedgerFile,
    out: Annotated[Path, typer.Option("--out", help="Model file to write, JSON.")],
    lang: LangOption = None,
) -> None:
    """Learn an order and activities from the verdicts of a ledger; refused where it finds true problems later."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..atomic import write_text  # noqa: PLC0415
        from ..ledger import Ledger  # noqa: PLC0415
        from ..ledger.learn import learn  # noqa: PLC0415

        with Ledger.reader(ledger_rules(ledger).path) as opened:
            model, judgement = learn(opened)
        write_text(out, model.text)
        _tell_judgement(teller, judgement)
        teller.result(text("model_written", teller.language, path=out.resolve(), **model.verdicts))


@learn_app.command()
def judge(
    model: Annotated[Path, typer.Argument(metavar="MODEL.json", help="Written by 'learn fit'.")],
    ledger: LedgerFile,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Compare a model with the present order on verdicts it has never seen: exit 65 where it is worse."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger  # noqa: PLC0415
        from ..ledger.held_out import examples_of  # noqa: PLC0415
        from ..ledger.learn import judge_model, load_model, refuse_stale  # noqa: PLC0415

        read = load_model(model)
        with Ledger.reader(ledger_rules(ledger).path) as opened:
            refuse_stale(read, opened, model)
            judgement = judge_model(read, examples_of(opened))
        if as_json:
            typer.echo(json.dumps(_judgement_json(judgement), indent=1))
        else:
            _tell_judgement(teller, judgement)
        judgement.refuse_if_lower(str(model))
        raise typer.Exit(ExitCode.DONE)


def _plain(event: Event) -> dict[str, object]:
    return {"problem_id": event.problem_id, "area_id": event.area_id, "at": event.at, **event.payload}


def _header(language: Language) -> list[str]:
    names = ("problem", "claim_kind", "claim_result", "claim_structure", "claim_bare", "claim_vegetation")
    return [text(name, language) for name in (*names, "claim_seasons", "claim_last", "claim_facts")]


def _row(event: Event, language: Language) -> list[str]:
    payload, kind = event.payload, Rectification.of(event.payload["rectification"])
    parts = (payload[name] for name in ("structure_gone", "bare_closed", "vegetation_held"))
    return [
        event.problem_id,
        kind.zh if language == "zh" else kind.en,
        text({True: "claim_passed", False: "claim_failed", None: "claim_unknown"}[payload["passed"]], language),
        *(text({True: "yes", False: "no", None: "not_known"}[part], language) for part in parts),
        str(payload["seasons"]),
        event.at,
        payload["why"],
    ]


def _tell_judgement(teller: Teller, judgement: Judgement) -> None:
    names = ("queue_length", "recall_now", "recall_model", "precision_now", "precision_model")
    rows = [[str(row.length), *(f"{value:.3f}" for value in row[1:])] for row in judgement.rows]
    teller.table([text(name, teller.language) for name in names], rows)
    held = {"problems": judgement.problems, "others": judgement.others, "covered": judgement.covered_share}
    teller.result(text("held_out", teller.language, **held))
    if judgement.activity_model is None:
        teller.result(text("typing_none", teller.language, now=judgement.activity_now))
    else:
        both = {"now": judgement.activity_now, "model": judgement.activity_model}
        teller.result(text("typing_both", teller.language, **both))


def _judgement_json(judgement: Judgement) -> dict[str, object]:
    return {
        "rows": [row._asdict() | {"lower": row.lower} for row in judgement.rows],
        "problems": judgement.problems,
        "others": judgement.others,
        "covered_share": judgement.covered_share,
        "activity_now": judgement.activity_now,
        "activity_model": judgement.activity_model,
    }
