"""A clue as a page to print, in Chinese and English, and as a table for a spreadsheet; whatever is in the facts stays text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ..texts import text

Facts = Mapping[str, Any]

_MOST_VERTICES = 120
_STYLE = " ".join(
    (
        'body{font:11pt/1.5 "Noto Sans CJK SC","Microsoft YaHei","PingFang SC",sans-serif;max-width:50em;margin:1em auto}',
        "table{border-collapse:collapse;width:100%;margin:.5em 0}",
        "th,td{border:1px solid #888;padding:.2em .5em;text-align:left;vertical-align:top}th{background:#eee}",
        "section{break-before:page}section:first-of-type{break-before:auto}",
        "figure{display:inline-block;width:48%;margin:0}img{max-width:100%;border:1px solid #888}",
        "code{font-size:85%;word-break:break-all}",
    )
)
_POLICY = "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'"


_HEADER = (
    "problem_id",
    "area_id",
    "area_name",
    "state",
    "activity_original",
    "activity_verified",
    "area_ha",
    "area_verified_ha",
    "longitude",
    "latitude",
    "longitude_dms",
    "latitude_dms",
    "first_period",
    "last_period",
    "receiver",
    "deadline",
    "handed_over_by",
    "handed_over_at",
)


def defused(value: object) -> str:
    """Return a cell that a spreadsheet shows and does not run: a leading ``= + - @``, tab or line end gets an apostrophe."""
    told = "" if value is None else str(value)
    return "'" + told if told[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else told


def clue_table(clue: Facts) -> str:
    """Return the clue as CSV, a line per problem, with the byte order mark that spreadsheets need for Chinese."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(_HEADER)
    for problem in clue["problems"]:
        writer.writerow([cell if isinstance(cell, float) else defused(cell) for cell in _cells(clue, problem)])
    return "\ufeff" + stream.getvalue()


def _cells(clue: Facts, problem: Facts) -> list[Any]:
    centre, verified = problem["centre"], problem["activity_verified"]
    cells = [problem["problem_id"], problem["area_id"], problem["area_name"], problem["state"]["zh"]]
    cells += [_coded(problem["activity_original"]), _coded(verified) if verified else ""]
    cells += [problem["area_ha"], problem["area_verified_ha"], centre["lon"], centre["lat"]]
    cells += [centre["lon_dms"], centre["lat_dms"], problem["opened_period"], problem["last_period"]]
    return [*cells, *(clue[k] for k in ("receiver", "deadline", "handed_over_by", "handed_over_at"))]


def _coded(value: Facts | None) -> str:
    return f"{value['code']} {value['zh']} {value['en']}" if value else ""


def clue_page(clue: Facts) -> str:
    """Return the clue as one HTML page: no script, nothing from elsewhere, every value escaped.

    Parameters
    ----------
    clue
        Content of ``clue.json``.
    """
    head = _rows(
        ("clue_receiver", clue["receiver"]),
        ("deadline", clue["deadline"]),
        ("clue_by", f"{clue['handed_over_by']}, {clue['handed_over_at']}"),
        ("problems", len(clue["problems"])),
    )
    title = _both("clue_title")
    body = "".join(_section(problem) for problem in clue["problems"])
    return (
        f'<!DOCTYPE html>\n<html lang="zh"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy"'
        f' content="{escape(_POLICY)}"><title>{title}</title><style>{_STYLE}</style></head>\n'
        f"<body><h1>{title}</h1>{head}\n{body}</body></html>\n"
    )


def _both(key: str) -> str:
    return escape(f"{text(key, 'zh')} {text(key, 'en')}")


def _rows(*pairs: tuple[str, object]) -> str:
    cells = "".join(
        f"<tr><th>{_both(key)}</th><td>{escape(str(value))}</td></tr>"
        for key, value in pairs
        if value not in (None, "")
    )
    return f"<table>{cells}</table>"


def _table(keys: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{_both(key)}</th>" for key in keys)
    lines = ["".join(f"<td>{escape('' if c is None else str(c))}</td>" for c in row) for row in rows]
    if not lines:
        return ""
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>\n"


def _section(problem: Facts) -> str:
    return "".join(
        (
            f"<section><h2>{escape(problem['problem_id'])}</h2>",
            _chips(problem),
            _standing(problem),
            _tables(problem),
            _outline(problem),
            "</section>\n",
        )
    )


def _chips(problem: Facts) -> str:
    if not problem["chips"]:
        return f"<p>{_both('clue_no_chips')}: {escape(problem['no_chips_because'])}</p>"
    return "".join(
        f'<figure><img src="{escape(chip["file"])}" alt="{_both("clue_" + chip["when"])}"><figcaption>'
        f"{_both('clue_' + chip['when'])} {escape(chip['date'])} <code>{escape(' '.join(chip['scenes']))}</code>"
        "</figcaption></figure>\n"
        for chip in problem["chips"]
    )


def _standing(problem: Facts) -> str:
    centre = problem["centre"]
    zones = "; ".join(f"{zone['zh']} {zone['area_ha']:.4f} ha" for zone in problem["zones"])
    return _rows(
        ("area", f"{problem['area_id']} {problem['area_name']}"),
        ("state", f"{problem['state']['zh']} {problem['state']['en']}"),
        ("clue_activity_original", _coded(problem["activity_original"])),
        ("clue_activity_verified", _coded(problem["activity_verified"])),
        ("hectares", problem["area_ha"]),
        ("clue_verified_ha", problem["area_verified_ha"]),
        ("clue_zones", zones),
        (
            "clue_centre",
            f"{centre['lon_dms']} {centre['lat_dms']} ({centre['lon']:.8f}, {centre['lat']:.8f}; {problem['crs']})",
        ),
        ("responsible", problem["responsible"]),
    )


def _tables(problem: Facts) -> str:
    history = [(h["period"], f"{h['change']['zh']} {h['change']['en']}", h["area_ha"]) for h in problem["history"]]
    verdicts = [
        (f"{v['verdict']['zh']} {v['verdict']['en']}", f"{v['reason']['zh']} {v['note']}", v["reviewer"], v["at"])
        for v in problem["verdicts"]
    ]
    patches = [
        (p["patch_id"], f"{p['before_date']} → {p['after_date']}", f"{p['pipeline']} {p['pipeline_version'] or ''}")
        for p in problem["patches"]
    ]
    observed = [
        (o["period"], "" if o["observed_share"] is None else f"{100 * o['observed_share']:.1f} %")
        for o in problem["observed"]
    ]
    return (
        _table(("period", "change", "hectares"), history)
        + _table(("clue_verdict", "clue_reason", "clue_reviewer", "clue_at"), verdicts)
        + _table(("clue_patch", "dates", "clue_pipeline"), patches)
        + _table(("clue_scene", "clue_digest"), sorted(problem["scenes"].items()))
        + _table(("period", "observed"), observed)
    )


def _outline(problem: Facts) -> str:
    vertices = [
        (ring["part"], v["lon_dms"], v["lat_dms"], f"{v['lon']:.8f}", f"{v['lat']:.8f}")
        for ring in problem["outline"]
        for v in ring["vertices"]
    ]
    rest = len(vertices) - _MOST_VERTICES
    more = f"<p>{_both('clue_more_vertices')}: {rest}</p>" if rest > 0 else ""
    keys = ("clue_part", "clue_longitude", "clue_latitude", "clue_longitude", "clue_latitude")
    return f"<h3>{_both('clue_outline')}</h3>" + _table(keys, vertices[:_MOST_VERTICES]) + more
