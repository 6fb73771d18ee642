"""Layers, columns and code lists of a published period: names, types, Chinese titles; told in full in ``docs/published.md``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..codes import Activity, AreaGrade, ChangeKind, ProblemState, VerdictKind, VerdictReason, Zone


class Column(NamedTuple):
    """One column: name, type (text, real, whole), Chinese title, English meaning with unit, and its code list if it has one."""

    name: str
    kind: str
    zh: str
    en: str
    codes: str = ""


class Layer(NamedTuple):
    """One table: geometry type (empty for a plain table), Chinese title, key, and names of its columns."""

    geometry: str
    zh: str
    key: str
    columns: tuple[str, ...]


CODE_LISTS: dict[str, list[tuple[str, str, str]]] = {
    "activity": [(str(c), c.zh, c.en) for c in Activity],
    "change": [(str(c), c.zh, c.en) for c in ChangeKind],
    "state": [(str(c), c.zh, c.en) for c in ProblemState],
    "verdict": [(str(c), c.zh, c.en) for c in VerdictKind],
    "reason": [(str(c), c.zh, c.en) for c in VerdictReason],
    "zone": [(str(z), z.zh, f"{z.replace('_', ' ')} zone") for z in Zone],
    "grade": [(str(c), c.zh, c.en) for c in AreaGrade],
}
"""Code, Chinese and English name of every value; each list is also a table ``code_<name>``."""

_COLUMNS = (
    # Our own names, as in docs/columns.md.
    Column("problem_id", "text", "问题编号", "identity of the problem; it never changes"),
    Column("patch_id", "text", "变化图斑编号", "identity of the patch"),
    Column("event_id", "text", "事件编号", "identity of the event in the ledger (SHA-256)"),
    Column("area_id", "text", "区域编号", "identity of the area"),
    Column("area_name", "text", "区域名称", "name of the area"),
    Column("kind", "text", "区域类别", "protected_area or red_line"),
    Column("grade", "text", "区域级别", "grade of the area", "grade"),
    Column("grade_zh", "text", "区域级别(中文)", "its Chinese name"),
    Column("grade_en", "text", "区域级别(英文)", "its English name"),
    Column("period", "text", "监测期", "period of the review, such as 2026H1"),
    Column("activity_code", "text", "人类活动类型", "type of activity, as verified where somebody did", "activity"),
    Column("activity_zh", "text", "人类活动类型(中文)", "its Chinese name"),
    Column("activity_en", "text", "人类活动类型(英文)", "its English name"),
    Column("activity_found", "text", "原活动类型", "type of activity as first found from images", "activity"),
    Column("change_code", "text", "变化代码", "what the period says against the ledger", "change"),
    Column("change_zh", "text", "变化(中文)", "its Chinese name"),
    Column("change_en", "text", "变化(英文)", "its English name"),
    Column("direction", "text", "增减方向", "gain or loss of activity"),
    Column("state", "text", "问题状态", "where the problem stands, at the ledger's head", "state"),
    Column("state_zh", "text", "问题状态(中文)", "its Chinese name"),
    Column("state_en", "text", "问题状态(英文)", "its English name"),
    Column("opened_period", "text", "首次发现期", "period of the first flag"),
    Column("last_period", "text", "最近监测期", "last period up to this one that says anything of it"),
    Column("last_change", "text", "最近变化代码", "what that period says", "change"),
    Column("stock", "whole", "本底存量", "1 where it stood at the baseline, else 0 (increment)"),
    Column("relapses", "whole", "复发次数", "how often it relapsed"),
    Column("standing", "whole", "期末存在", "1 where it is a row of the layer activity"),
    Column("merged_into", "text", "并入问题编号", "the problem it became a part of by this period"),
    Column("parents", "text", "来源问题编号", "JSON list of the problems it came from"),
    Column("withdrawn", "whole", "已撤销", "1 where a later issue of its period took it back"),
    Column("responsible", "text", "责任单位", "responsible unit"),
    Column("deadline", "text", "整改期限", "deadline of the rectification, YYYY-MM-DD"),
    Column("overdue", "whole", "已逾期", "1 where the deadline lies before the period's end and rectification is owed"),
    Column("rectification", "text", "整改类型", "exit, remediate or restore"),
    Column("evidence", "text", "遥感复核证据", "JSON of the last check of a claim against images"),
    Column("verdict", "text", "核查结论", "what the reviewer says", "verdict"),
    Column("verdict_zh", "text", "核查结论(中文)", "its Chinese name"),
    Column("verdict_en", "text", "核查结论(英文)", "its English name"),
    Column("reason", "text", "原因代码", "coded reason", "reason"),
    Column("reason_zh", "text", "原因(中文)", "its Chinese name"),
    Column("reason_en", "text", "原因(英文)", "its English name"),
    Column("note", "text", "说明", "free text of the reviewer"),
    Column("reviewer", "text", "核查人", "who gave it"),
    Column("at", "text", "核查时间", "when it was given"),
    Column("area_ha", "real", "面积(公顷)", "area on the ellipsoid, ha, 4 decimals"),
    Column("area_found_ha", "real", "原面积(公顷)", "area as first found from images, ha"),
    Column("area_verified_ha", "real", "核实面积(公顷)", "area as verified by a person, ha"),
    Column(
        "zone", "text", "所在分区", "zone with its largest share; a text of the boundary file where that is no code"
    ),
    Column("core_ha", "real", "核心区(公顷)", "area in the core zone, ha"),
    Column("buffer_ha", "real", "缓冲区(公顷)", "area in the buffer zone, ha"),
    Column("experimental_ha", "real", "实验区(公顷)", "area in the experimental zone, ha"),
    Column("core_protection_ha", "real", "核心保护区(公顷)", "area in the core protection zone, ha"),
    Column("general_control_ha", "real", "一般控制区(公顷)", "area in the general control zone, ha"),
    Column("length_m", "real", "长度(米)", "length on the ellipsoid, m, 1 decimal"),
    Column("core_m", "real", "核心区(米)", "length in the core zone, m"),
    Column("buffer_m", "real", "缓冲区(米)", "length in the buffer zone, m"),
    Column("experimental_m", "real", "实验区(米)", "length in the experimental zone, m"),
    Column("core_protection_m", "real", "核心保护区(米)", "length in the core protection zone, m"),
    Column("general_control_m", "real", "一般控制区(米)", "length in the general control zone, m"),
    Column("before_date", "text", "前期影像日期", "date before, YYYY-MM-DD"),
    Column("after_date", "text", "后期影像日期", "date after, YYYY-MM-DD"),
    Column("before_scenes", "text", "前期影像", "scenes before, joined by a blank"),
    Column("after_scenes", "text", "后期影像", "scenes after, joined by a blank"),
    Column("energy", "text", "能源亚类", "sub-class of an energy facility"),
    Column("act", "text", "破坏行为", "act named by the policy that the activity implies"),
    Column("natural", "text", "自然变化", "natural change it looks like"),
    Column("carrier", "text", "承载体", "what was there before"),
    Column("confidence", "real", "置信度", "how often a naming of this rank was right, 0-1"),
    Column("reasons", "text", "判定依据", "facts that the rules looked at"),
    Column("stage", "text", "时序支持", "how far time supports the change"),
    Column("strength", "real", "变化强度", "mean of the root of the score"),
    Column("shift_px", "real", "配准残差(像元)", "displacement left between the dates, pixels"),
    Column("pipeline", "text", "流程", "pipeline that found it"),
    Column("pipeline_version", "text", "流程版本", "version of the pipeline"),
    Column("issue", "whole", "期次版本", "issue of the unit in the ledger, from 1"),
    Column("version", "text", "边界版本", "digest of the boundary"),
    Column("valid_from", "text", "生效日期", "the boundary holds from this day"),
    Column("valid_to", "text", "失效日期", "the boundary holds until before this day; empty: still"),
    Column("assessed", "whole", "本期已评估", "1 where the area was entered for the period; else nothing can be said"),
    Column("observed_share", "real", "观测比例", "share that was really seen, 0-1"),
    Column("run_id", "text", "运行编号", "run that was entered"),
    Column("inputs_digest", "text", "输入摘要", "SHA-256 over all inputs of the unit"),
    Column("patches", "whole", "变化图斑数", "patches of the period"),
    Column("problems", "whole", "现存问题数", "rows of the layer activity in this area"),
    Column("activity_ha", "real", "现存活动面积(公顷)", "sum of their areas, ha"),
    Column("baseline_as_of", "text", "本底日期", "date of the frozen baseline"),
    Column("baseline_problems", "whole", "本底问题数", "problems in the baseline"),
    Column("baseline_ha", "real", "本底面积(公顷)", "area of the baseline, ha"),
    Column("boundary_changes", "text", "边界调整", "JSON: what changed against the version before"),
    # Names of the operational systems, see docs/published.md.
    Column("CODE", "text", "图斑编号", "= problem_id, or patch_id for a change"),
    Column("YJLX", "text", "一级类型", "= activity_code; none for 00, which that list does not know", "activity"),
    Column("BHQK", "text", "变化情况", "1 new, 2 expanded, 3 reduced"),
    Column("QSX", "text", "前时相", "= before_date"),
    Column("HSX", "text", "后时相", "= after_date"),
    Column("BHDMC", "text", "保护地名称", "= area_name"),
    Column("BHDJB", "text", "保护地级别", "G where the grade is a national one"),
    Column("GNFQ", "text", "功能分区", "Chinese name of the zone"),
    Column("ZXJD", "text", "中心经度", "longitude of a point inside, degrees, minutes, seconds"),
    Column("ZXWD", "text", "中心纬度", "latitude of a point inside, degrees, minutes, seconds"),
    Column("MJ", "real", "总面积(公顷)", "= area_ha"),
    Column("HXQMJ", "real", "核心区面积(公顷)", "= core_ha"),
    Column("HCQMJ", "real", "缓冲区面积(公顷)", "= buffer_ha"),
    Column("SYQMJ", "real", "实验区面积(公顷)", "= experimental_ha"),
    Column("CD", "real", "总长度(米)", "= length_m"),
    Column("HXQCD", "real", "核心区长度(米)", "= core_m"),
    Column("HCQCD", "real", "缓冲区长度(米)", "= buffer_m"),
    Column("SYQCD", "real", "实验区长度(米)", "= experimental_m"),
    Column("JCPC", "text", "监测批次", "= period"),
    Column("SJY", "text", "数据源", "= after_scenes"),
)
COLUMNS: dict[str, Column] = {column.name: column for column in _COLUMNS}
"""Every column that a published layer may have."""

ZONE_HA = {str(zone): f"{zone}_ha" for zone in Zone}
ZONE_M = {str(zone): f"{zone}_m" for zone in Zone}
"""Columns of hectares and of metres by zone."""

OFFICIAL = {"core_ha": "HXQMJ", "buffer_ha": "HCQMJ", "experimental_ha": "SYQMJ"} | {
    "core_m": "HXQCD",
    "buffer_m": "HCQCD",
    "experimental_m": "SYQCD",
}
"""Zone columns and the operational names that repeat them."""

_PLACE = "area_id area_name"
_TYPE = "activity_code activity_zh activity_en"
_NOW = (
    f"problem_id {_PLACE} period {_TYPE} activity_found state state_zh state_en opened_period last_period last_change"
    " stock relapses before_date after_date pipeline zone"
)
_CHANGE = (
    f"patch_id problem_id {_PLACE} period issue change_code change_zh change_en direction {_TYPE} energy act natural carrier"
    " confidence reasons stage strength before_date after_date before_scenes after_scenes observed_share shift_px pipeline"
    " pipeline_version zone"
)
_LIFE = (
    f"problem_id {_PLACE} period {_TYPE} activity_found state state_zh state_en opened_period last_period last_change stock"
    " relapses standing merged_into parents withdrawn responsible deadline overdue rectification evidence verdict reason"
    " reviewer at area_ha area_found_ha area_verified_ha"
)
_VERDICT = (
    "event_id problem_id patch_id area_id verdict verdict_zh verdict_en reason reason_zh reason_en activity_code area_ha note"
    " reviewer at"
)
_AREA = (
    f"{_PLACE} kind grade grade_zh grade_en version valid_from valid_to period area_ha assessed observed_share issue run_id"
    " inputs_digest patches problems activity_ha baseline_as_of baseline_problems baseline_ha boundary_changes"
)
_HA, _M = " ".join(ZONE_HA.values()), " ".join(ZONE_M.values())
_FINDER = "BHDMC BHDJB GNFQ ZXJD ZXWD"


def _layer(geometry: str, zh: str, key: str, *columns: str) -> Layer:
    return Layer(geometry, zh, key, tuple(name for part in columns for name in part.split()))


LAYERS: dict[str, Layer] = {
    "activity": _layer(
        "MultiPolygon",
        "人类活动现状",
        "problem_id",
        f"{_NOW} area_ha area_found_ha area_verified_ha {_HA}",
        f"CODE YJLX {_FINDER} MJ HXQMJ HCQMJ SYQMJ JCPC SJY",
    ),
    "activity_road": _layer(
        "MultiLineString",
        "人类活动现状(道路)",
        "problem_id",
        f"{_NOW} length_m {_M}",
        f"CODE YJLX {_FINDER} CD HXQCD HCQCD SYQCD JCPC SJY",
    ),
    "change": _layer(
        "MultiPolygon",
        "人类活动变化",
        "patch_id",
        f"{_CHANGE} area_ha {_HA}",
        "CODE YJLX BHQK QSX HSX BHDMC GNFQ MJ JCPC SJY",
    ),
    "change_road": _layer(
        "MultiLineString",
        "人类活动变化(道路)",
        "patch_id",
        f"{_CHANGE} length_m {_M}",
        "CODE YJLX BHQK QSX HSX BHDMC GNFQ CD JCPC SJY",
    ),
    "problem": _layer("MultiPolygon", "问题台账", "problem_id", _LIFE),
    "verdict": _layer("", "核查结论", "event_id", _VERDICT),
    "area": _layer("MultiPolygon", "评估区域", "area_id", _AREA),
    "not_observed": _layer(
        "MultiPolygon",
        "未观测范围",
        "",
        f"{_PLACE} period pipeline reason reason_zh reason_en area_ha",
    ),
}
"""The layers in the order in which they are written."""


def columns_of(layer: str) -> tuple[Column, ...]:
    """Return the columns of a layer in order; `reason` of `not_observed` is no verdict's reason and has no code list here."""
    found: Iterable[Column] = (COLUMNS[name] for name in LAYERS[layer].columns)
    if layer == "not_observed":
        found = (c._replace(codes="", en="why it was not seen") if c.name == "reason" else c for c in found)
    return tuple(found)
