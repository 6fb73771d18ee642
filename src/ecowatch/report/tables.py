"""The short table of a run: patches by area and activity, and how much was seen."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..texts import Language, text


def run_table(folder: Path, language: Language) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of a finished run, read back from its GeoPackage.

    Parameters
    ----------
    folder
        A run's folder with ``flagged.gpkg`` and ``run.json``.
    language
        zh or en.

    Returns
    -------
    tuple
        Column heads, and rows of cells as text.
    """
    header = [text(k, language) for k in ("area", "dates", "observed", "activity", "patches", "hectares")]
    return header, list(_rows(folder, language))


def _rows(folder: Path, language: Language) -> Iterator[list[str]]:
    package = folder / "flagged.gpkg"
    counts: defaultdict[Any, list[float]] = defaultdict(lambda: [0, 0.0])
    for row in _table(package, "patch"):
        # A natural change is no human activity, but it is more than "undetermined".
        name = row[f"natural_{language}"] or row[f"activity_{language}"]
        entry = counts[row["area_id"], row["pipeline"], f"{row['activity_code']} {name}"]
        entry[0] += 1
        entry[1] += row["area_ha"]
    for area in _table(package, "area_summary"):
        name = f"{area['area_id']} {area['area_name']}"
        if area["before_date"] is None:
            yield [name, text("not_compared", language), "0.0 %", str(area["note"]), "", ""]
            continue
        own = area["area_id"], area["pipeline"]
        found = {key[2]: entry for key, entry in counts.items() if key[:2] == own}
        first = [name, f"{area['before_date']} → {area['after_date']}", f"{100 * area['observed_share']:.1f} %"]
        if not found:
            yield [*first, text("none_flagged", language), "0", "0.00"]
        for number, (activity, (count, hectares)) in enumerate(sorted(found.items())):
            lead = first if number == 0 else ["", "", ""]
            yield [*lead, activity, str(int(count)), f"{hectares:.2f}"]
        if area["suppressed"]:
            told = text("set_aside", language)
            yield ["", "", "", told, str(int(area["suppressed"])), f"{area['suppressed_ha']:.2f}"]
    totals = json.loads((folder / "run.json").read_text("utf-8"))["totals"]
    yield [text("total_once", language), "", "", "", str(totals["patches"]), f"{totals['patch_ha']:.2f}"]


def _table(package: Path, layer: str) -> list[dict[str, Any]]:
    """Return the rows of a layer without their geometries."""
    import pyogrio.raw  # noqa: PLC0415 - brings pandas along where it is imported first

    meta, _, _, columns = pyogrio.raw.read(package, layer=layer, read_geometry=False)
    return [dict(zip(meta["fields"], row, strict=True)) for row in zip(*columns, strict=True)]
