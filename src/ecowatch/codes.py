"""Coded values with their Chinese and English names; each Chinese term of the field stands here once.

Activity codes 01–10 are the operational list used in protected-area ledgers; how far each name is documented is told in
``docs/methods.md``. ``00`` is ours: the honest answer where the evidence does not carry a class.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Self


class _Named(StrEnum):
    """A coded value with its Chinese and English name."""

    zh: str
    en: str

    def __new__(cls, code: str, zh: str, en: str) -> _Named:
        member = str.__new__(cls, code)
        member._value_ = code
        member.zh = zh
        member.en = en
        return member

    @classmethod
    def of(cls, code: str) -> Self:
        """Return the value of a code that was stored; ValueError for any other text."""
        for member in cls:
            if member.value == code:
                return member
        raise ValueError(f"{code!r} is no code of {cls.__name__}")


class Activity(_Named):
    """Type of human activity 人类活动类型."""

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


class EnergyKind(_Named):
    """Sub-class of `Activity.ENERGY`; ministries count hydropower apart. The codes are ours."""

    HYDROPOWER = "hydropower", "水电", "hydropower"
    PHOTOVOLTAIC = "photovoltaic", "光伏", "photovoltaic"
    WIND = "wind", "风电", "wind power"
    OTHER = "other", "其他能源", "other energy"


class Act(_Named):
    """What is done to the ground: the seven acts that the policy on ecological protection names."""

    MINING = "mining", "开矿", "mining"
    ROAD = "road", "修路", "road building"
    DAM = "dam", "筑坝", "dam building"
    BUILDING = "building", "建设", "construction"
    RECLAMATION = "reclamation", "围填海", "sea reclamation"
    SAND = "sand", "采砂", "sand extraction"
    BLASTING = "blasting", "炸礁", "reef blasting"


class Carrier(_Named):
    """What the acts are done to: the five carriers that the policy names."""

    WETLAND = "wetland", "湿地", "wetland"
    FOREST = "forest", "林地", "forest"
    GRASSLAND = "grassland", "草地", "grassland"
    SHORELINE = "shoreline", "自然岸线", "natural shoreline"
    NEARSHORE = "nearshore", "近岸海域", "nearshore water"

    @classmethod
    def named(cls, text: str) -> Carrier | None:
        """Return the carrier that a layer calls by its code or by its Chinese or English name, or None."""
        word = text.strip().lower()
        return next((carrier for carrier in cls if word in (str(carrier), carrier.zh, carrier.en)), None)


class Natural(_Named):
    """A change that is not human, as far as the evidence goes."""

    FLOOD = "flood", "洪水或水位变化", "flood or water level"
    LANDSLIDE = "landslide", "滑坡", "landslide"
    FIRE = "fire", "火烧", "fire"
    MEANDER = "meander", "河道摆动", "shifting river"
    TIDE = "tide", "潮汐", "tide"
    OTHER = "other", "其他自然变化", "other natural change"


class Limit(_Named):
    """What the images of a review cannot show, stated on its output."""

    BLASTING = "blasting", "炸礁在水下进行，影像不能显示", "Reef blasting happens under water: no image here shows it."
    SMALL_WEIRS = (
        "small_weirs",
        "小于约三个像元的堰坝、水闸和风机基础在该分辨率下不可见",
        "Weirs, sluices and wind turbine pads below about three pixels cannot be seen at this resolution.",
    )
    NARROW_ROADS = (
        "narrow_roads",
        "窄于一个像元的道路可能漏检，宽度不可靠",
        "Roads narrower than a pixel may be missed, and their width is not reliable.",
    )
    TURBINES = (
        "turbines",
        "风机按形状不能与其他小型设施区分，风电不予判定",
        "Wind turbines are not told apart from other small works: wind power is never named.",
    )
    DREDGING = (
        "dredging",
        "水下采砂和疏浚不可见，仅能显示露出水面的部分",
        "Sand extraction and dredging under water cannot be seen, only what lies dry.",
    )
    NO_INFRARED = (
        "no_infrared",
        "没有近红外波段，水体与植被只能按颜色推断，洪水不予判定",
        "Without near infrared, water and plants are judged by colour alone: floods are never named.",
    )
    NO_SWIR = (
        "no_swir",
        "没有短波红外波段，裸地与建筑、火烧迹地不易区分",
        "Without shortwave infrared, bare ground, roofs and burns are poorly told apart.",
    )
    RADAR_ONLY = (
        "radar_only",
        "仅有雷达影像，人类活动类型不予判定",
        "Radar alone: the type of human activity is never named.",
    )
    NO_SLOPE = (
        "no_slope",
        "未提供坡度，滑坡与开挖不能区分",
        "Without slope, a landslide is not told apart from digging.",
    )


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


class NotObserved(_Named):
    """Why a part of an area was not seen; "not observed" is never "no change"."""

    MASKED = "masked", "云或阴影", "cloud, shadow or another masked class"
    NO_DATA = "no_data", "无数据", "no data in one of the dates"
    NO_PAIR = "no_pair", "无可用影像对", "no usable pair of dates"
    FAILED = "failed", "处理失败", "processing failed"


class TaskStatus(StrEnum):
    """What became of one unit of work."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    QUARANTINED = "quarantined"


class State(IntEnum):
    """What is known of a pixel; the larger value wins where two dates meet."""

    OUTSIDE = 0
    USABLE = 1
    MASKED = 2
    NO_DATA = 3
    WEAK = 4
    STRONG = 5


class Stage(_Named):
    """How far time supports a change; the coarse rank of a patch before a person has looked."""

    CONFIRMED = "confirmed", "后续时相确认", "still there at a later date"
    EXCEEDS_HISTORY = "exceeds_history", "超出历史变幅", "beyond what the place did before"
    ONE_DATE = "one_date", "单时相", "seen on one date only"
    RETURNING = "returning", "历史重现", "an earlier state of the place came back"


class PseudoChange(_Named):
    """Why a difference between two dates is no change of the ground 伪变化原因."""

    SATURATION = "saturation", "传感器饱和", "sensor saturation"
    SCENE_EDGE = "scene_edge", "影像边缘", "edge of a scene"
    STRIPE = "stripe", "条带噪声", "stripe of the sensor"
    MISREGISTRATION = "misregistration", "配准残差", "edge within the residual shift"
    SNOW = "snow", "积雪", "snow"
    CLOUD = "cloud", "残余云", "cloud left by the mask"
    CLOUD_SHADOW = "cloud_shadow", "残余云影", "cloud shadow left by the mask"
    HAZE = "haze", "霾或薄云", "haze"
    RELIEF_SHADOW = "relief_shadow", "地形或建筑物阴影", "shadow of relief or of a building"
    WATER_LEVEL = "water_level", "水位或浑浊度变化", "water level or turbidity"
    BURN = "burn", "过火", "burn"
    CROP_CYCLE = "crop_cycle", "作物轮作或收割", "crop cycle or harvest"
    SEASON = "season", "季节性植被变化", "seasonal vegetation"
    RETURNING = "returning", "历史重现", "an earlier state of the place came back"


class ChangeKind(_Named):
    """What a period says of a problem. 1–3 are the operational list 变化类型; the others are ours."""

    CONTINUING = "0", "持续", "continuing"
    NEW = "1", "新增", "new"
    EXPANDED = "2", "扩大", "expanded"
    REDUCED = "3", "减少", "reduced"
    ENDED = "4", "消失", "ended"
    RELAPSED = "6", "复发", "relapsed"
    NOT_OBSERVED = "9", "未观测", "not observed"


class ProblemState(_Named):
    """Where a problem stands between first flag and close-out 问题状态."""

    AUTO = "auto", "自动图斑", "automatic patch"
    SCREENED = "screened", "伪变化剔除后", "pseudo-changes removed"
    INTERPRETED = "interpreted", "人工判读", "read by an interpreter"
    SUSPECTED = "suspected", "疑似问题", "suspected problem"
    CONFIRMED = "confirmed", "核实问题", "confirmed problem"
    NO_PROBLEM = "no_problem", "非问题", "no problem"
    TO_RECTIFY = "to_rectify", "待整改", "to be rectified"
    RECTIFYING = "rectifying", "整改中", "being rectified"
    CLAIMED_DONE = "claimed_done", "申请销号", "claimed to be done"
    CHECKED = "checked", "遥感复核通过", "checked from imagery"
    CLOSED = "closed", "已销号", "closed"
    RELAPSED = "relapsed", "复发", "relapsed"


class Rectification(_Named):
    """Kind of a rectification plan 整改类型."""

    EXIT = "exit", "退出", "exit"
    REMEDIATE = "remediate", "整治", "remediate"
    RESTORE = "restore", "修复", "restore"


class VerdictKind(_Named):
    """What a reviewer says of a patch or problem 核查结论."""

    PROBLEM = "problem", "属实", "a problem"
    NO_PROBLEM = "no_problem", "非问题", "no problem"
    UNSURE = "unsure", "存疑", "unsure"
    FIELD_CHECK = "field_check", "需现场核查", "needs a field check"


class VerdictReason(_Named):
    """Why a patch is no problem, or cannot be judged 结论原因; after the reject reasons of alert systems."""

    NONE = "none", "无", "no reason needed"
    REFORESTATION = "reforestation", "造林或更新采伐", "reforestation or plantation cycle"
    SEASONALITY = "seasonality", "季节变化", "season"
    FARMING = "farming", "原有耕作", "farming as before"
    BURNED = "burned", "过火", "burned"
    RELIEF_SHADOW = "relief_shadow", "地形阴影", "shadow of relief"
    NO_IMAGES = "no_images", "无可用影像", "no usable image"
    DUPLICATE = "duplicate", "重复图斑", "duplicate"
    CLOUD = "cloud", "云或云影", "cloud or its shadow"
    QUALITY = "quality", "影像质量", "image quality"
    DEGRADATION = "degradation", "自然退化", "natural degradation"
    WATER_LEVEL = "water_level", "水位变化", "water level"
    PERMITTED = "permitted", "手续齐全", "permitted"
    EXISTED_BEFORE = "existed_before", "本底已有", "existed before the baseline"


class AreaGrade(_Named):
    """What kind of place an area is; the assessment calendar goes by it."""

    NATIONAL_PARK = "national_park", "国家公园", "national park"
    NATIONAL_RESERVE = "national_reserve", "国家级自然保护区", "national nature reserve"
    NATIONAL_NATURE_PARK = "national_nature_park", "国家级自然公园", "national nature park"
    RED_LINE = "red_line", "生态保护红线", "ecological red line"
    COUNTY_FUNCTION_ZONE = "county_function_zone", "县域重点生态功能区", "county key ecological function zone"
    LOCAL = "local", "地方级自然保护地", "local protected area"
    NATION = "nation", "全国", "nation"
    CAMPAIGN = "campaign", "重点区域流域", "key region or basin"
    DEMONSTRATION = "demonstration", "示范区", "demonstration area"
