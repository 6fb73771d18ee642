"""User-facing texts in Chinese and English: the one catalogue."""

from __future__ import annotations

import os
from typing import Literal

Language = Literal["zh", "en"]

_TEXTS: dict[str, tuple[str, str]] = {
    "area": ("区域", "area"),
    "activity": ("人类活动类型", "activity"),
    "patches": ("图斑数", "patches"),
    "hectares": ("面积(公顷)", "hectares"),
    "observed": ("观测比例", "observed"),
    "dates": ("前后时相", "before → after"),
    "none_flagged": ("未发现变化图斑", "nothing flagged"),
    "set_aside": ("(另有已排除的伪变化,见 suppressed 图层)", "(set aside as no change: layer suppressed)"),
    "not_compared": ("未能比对", "not compared"),
    "total_once": ("合计(重叠区域只计一次)", "total (overlaps counted once)"),
    "written": ("结果文件", "GeoPackage"),
    "reused": ("该任务此前已完成,结果未改动", "this run was complete already; nothing was rewritten"),
    "quarantined": ("已隔离的影像", "quarantined scene"),
    "failed": ("失败", "failed"),
    "step_fit": ("配准与阈值", "fit"),
    "step_tile": ("变化检测", "detect"),
    "step_look": ("复核候选图斑", "second look"),
    "plan_line": (
        "{new} 新 / {skip} 跳过 / {recompute} 重算;影像 {scenes} 景;{megabytes:.0f} MB;约 {minutes:.1f} 分钟",
        "{new} new / {skip} skip / {recompute} recompute; {scenes} scenes; {megabytes:.0f} MB; about {minutes:.1f} minutes",
    ),
}


def default_language() -> Language:
    """Return the language of the environment: zh where LANG says so, else en."""
    return "zh" if os.environ.get("LANG", "").lower().startswith("zh") else "en"


def text(key: str, language: Language, **values: object) -> str:
    """Return the text `key` in `language`, with `values` filled in."""
    return _TEXTS[key][0 if language == "zh" else 1].format(**values)
