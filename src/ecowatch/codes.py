"""Coded values with their Chinese and English names; each Chinese term of the field stands here once.

Activity codes 01–10 are the operational list used in protected-area ledgers; how far each name is documented is told in
``docs/methods.md``. ``00`` is ours: the honest answer where the evidence does not carry a class.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Activity(StrEnum):
    """Type of human activity 人类活动类型."""

    zh: str
    en: str

    def __new__(cls, code: str, zh: str, en: str) -> Activity:
        member = str.__new__(cls, code)
        member._value_ = code
        member.zh = zh
        member.en = en
        return member

    UNDETERMINED = "00", "未定", "undetermined"
    AGRICULTURE = "01", "农业用地", "agricultural land"
    SETTLEMENT = "02", "居民点", "settlement"
    MINING = "03", "工矿用地", "industrial / mining land"
    QUARRY = "04", "采石场", "quarry"
    ENERGY = "05", "能源设施", "energy facility"
    TOURISM = "06", "旅游设施", "tourism facility"
    TRANSPORT = "07", "交通设施", "transport facility"
    AQUACULTURE = "08", "养殖场", "aquaculture / livestock farm"
    ROAD = "09", "道路", "road"
    OTHER = "10", "其他人工设施", "other artificial facility"


class Zone(StrEnum):
    """Management zone of a protected area, in the three-zone and in the two-zone system."""

    zh: str

    def __new__(cls, code: str, zh: str) -> Zone:
        member = str.__new__(cls, code)
        member._value_ = code
        member.zh = zh
        return member

    CORE = "core", "核心区"
    BUFFER = "buffer", "缓冲区"
    EXPERIMENTAL = "experimental", "实验区"
    CORE_PROTECTION = "core_protection", "核心保护区"
    GENERAL_CONTROL = "general_control", "一般控制区"


THREE_ZONE = frozenset({Zone.CORE, Zone.BUFFER, Zone.EXPERIMENTAL})
TWO_ZONE = frozenset({Zone.CORE_PROTECTION, Zone.GENERAL_CONTROL})


class NotObserved(StrEnum):
    """Why a part of an area was not seen; "not observed" is never "no change"."""

    zh: str
    en: str

    def __new__(cls, code: str, zh: str, en: str) -> NotObserved:
        member = str.__new__(cls, code)
        member._value_ = code
        member.zh = zh
        member.en = en
        return member

    MASKED = "masked", "云或阴影", "cloud, shadow or another masked class"
    NO_DATA = "no_data", "无数据", "no data in one of the dates"
    NO_PAIR = "no_pair", "无可用影像对", "no usable pair of dates"
    FAILED = "failed", "处理失败", "processing failed"


class TaskStatus(StrEnum):
    """What became of one unit of work."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


class State(IntEnum):
    """What is known of a pixel; the larger value wins where two dates meet."""

    OUTSIDE = 0
    USABLE = 1
    MASKED = 2
    NO_DATA = 3
    WEAK = 4
    STRONG = 5
