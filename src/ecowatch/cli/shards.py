"""The command that makes one review of what its shards left behind."""

from __future__ import annotations

from .ending import ending
from .lean import lean_imports
from .options import ClusterFile, EnterOption, LangOption, LogOption, PlanFile, ReissueOption, ReviewFile
from .reviews import Entry, app, finish, load_cluster, load_review
from .teller import LogForm, Teller, errors_told, language_of


@app.command()
def merge(
    review: ReviewFile,
    plan: PlanFile,
    cluster: ClusterFile = None,
    ledger: EnterOption = None,
    reissue: ReissueOption = "",
    log: LogOption = LogForm.AUTO,
    lang: LangOption = None,
) -> None:
    """Put the shards of a plan together and write the GeoPackage; a missing shard is named, its tiles are not observed."""
    teller = Teller(log, language_of(lang))
    with errors_told(teller), lean_imports(frames=ledger is not None):
        place = load_cluster(cluster)
    with errors_told(teller), ending(teller, review, place) as end:
        with lean_imports(frames=ledger is not None):
            from ..report import write_quicklooks  # noqa: PLC0415
            from ..review import merge_review  # noqa: PLC0415

            settings = end.review = load_review(review)
        entry = Entry(ledger, reissue)
        rules = entry.rules()
        with teller:
            result = end.result = merge_review(
                settings, place, plan, progress=teller.progress, products=[write_quicklooks]
            )
        finish(teller, result, rules, entry.reissue)
