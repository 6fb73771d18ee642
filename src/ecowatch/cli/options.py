"""Options and arguments that several commands take, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..codes import ProblemState
from .teller import Lang, LogForm

_AREA = typer.Option("--area", help="Identity of an area: only these; may be repeated.")
_LEDGER = typer.Option("--ledger", help="Ledger file; see configs/ledger.toml.")
_PLAN = typer.Option("--plan", help="The plan that 'ecowatch plan' wrote, for --shard and for 'ecowatch merge'.")

ReviewFile = Annotated[Path, typer.Argument(metavar="REVIEW.toml", help="Review file; see 'ecowatch config example'.")]
ClusterFile = Annotated[Path | None, typer.Option("--cluster", help="Cluster file; two local processes without it.")]
PlanFile = Annotated[Path, _PLAN]
PlanToo = Annotated[Path | None, _PLAN]
EnterOption = Annotated[Path | None, typer.Option("--ledger", help="Ledger file; the run is entered there.")]
ReissueOption = Annotated[str, typer.Option("--reissue", help="Why a period that was signed off is issued again.")]

LedgerFile = Annotated[Path, _LEDGER]
LedgerToo = Annotated[Path | None, _LEDGER]
LedgerPath = Annotated[Path | None, typer.Argument(metavar="LEDGER.db", help="The ledger; or give --ledger.")]
TakeOver = Annotated[
    bool, typer.Option("--take-over", help="Replace the lock of a writer that does not answer; its work is refused.")
]

PeriodName = Annotated[str, typer.Argument(metavar="PERIOD", help="2026H1, 2026 or 2021-2025.")]
AreaIds = Annotated[list[str], _AREA]
OnlyAreas = Annotated[list[str] | None, _AREA]
OnlyStates = Annotated[list[ProblemState] | None, typer.Option("--state", help="Only these states.")]

ByOption = Annotated[str, typer.Option("--by", help="Name of the person who says so.")]
AtOption = Annotated[str, typer.Option("--at", help="When it was said: a date, or an instant with its zone.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why.")]

ReceiptFile = Annotated[Path, typer.Argument(metavar="RECEIPT.json", help="The receipt that came back.")]
KeyOption = Annotated[
    Path, typer.Option("--key", help="Key file shared with the other node: 32 bytes or more, mode 600.")
]
RankOption = Annotated[
    int | None, typer.Option("--rank", min=0, help="Rank of this node, 0 highest; 0 for 'national', else 1.")
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LogOption = Annotated[LogForm, typer.Option("--log", help="auto: a bar or lines; json: one JSON object per event.")]
LangOption = Annotated[Lang | None, typer.Option("--lang", help="zh or en; from LANG without it.")]
