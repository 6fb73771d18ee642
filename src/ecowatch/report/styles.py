"""How QGIS shows a published layer: Chinese aliases, code lists in forms, categories, map tip; as QML and in the GeoPackage.

Written by hand after the form that QGIS 3.22 reads; no QGIS is needed to write it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from .published_columns import CODE_LISTS, LAYERS, columns_of

_GREY = "128,128,128"
_PALETTE = {
    "activity": "150,150,150 255,211,127 227,26,28 106,61,154 177,89,40 255,127,0 251,154,153 31,120,180 51,160,44 35,35,35"
    " 202,178,214",
    "change": "190,190,190 227,26,28 255,127,0 51,160,44 178,223,138 152,0,67 255,255,255",
    "state": "190,190,190 217,217,217 166,206,227 255,255,153 227,26,28 240,240,240 255,127,0 253,191,111 178,223,138"
    " 51,160,44 0,109,44 152,0,67",
}
_COLOURED_BY = {
    "activity": ("activity_code", "activity"),
    "activity_road": ("activity_code", "activity"),
    "change": ("change_code", "change"),
    "change_road": ("change_code", "change"),
    "problem": ("state", "state"),
}
_TIP = {
    "activity": ("CODE", "area_name", "activity_zh", "state_zh", "area_ha"),
    "activity_road": ("CODE", "area_name", "activity_zh", "state_zh", "length_m"),
    "change": ("CODE", "area_name", "activity_zh", "change_zh", "before_date", "after_date", "area_ha"),
    "change_road": ("CODE", "area_name", "activity_zh", "change_zh", "before_date", "after_date", "length_m"),
    "problem": ("problem_id", "area_name", "activity_zh", "state_zh", "deadline"),
    "area": ("area_id", "area_name", "grade_zh", "observed_share"),
    "not_observed": ("area_id", "area_name", "reason_zh", "area_ha"),
}


class _Symbol(NamedTuple):
    """One entry of the legend: value, label, colour as ``r,g,b``."""

    value: str
    label: str
    colour: str


def style_of(layer: str) -> str:
    """Return the QML of a published layer.

    Parameters
    ----------
    layer
        One of `published_columns.LAYERS`.

    Returns
    -------
    str
        An XML text; names of areas are quoted in its map tip, for they come from outside and QGIS shows them as HTML.
    """
    columns = columns_of(layer)
    root = Element("qgis", version="3.22.16-Białowieża", styleCategories="AllStyleCategories")
    fields = SubElement(root, "fieldConfiguration")
    aliases = SubElement(root, "aliases")
    for index, column in enumerate(columns):
        widget = SubElement(SubElement(fields, "field", name=column.name, configurationFlags="None"), "editWidget")
        _fill_widget(widget, column.codes)
        SubElement(aliases, "alias", index=str(index + 1), field=column.name, name=column.zh)
    if LAYERS[layer].geometry:
        _add_renderer(root, layer)
        SubElement(root, "mapTip").text = _map_tip(layer)
    SubElement(root, "previewExpression").text = f'"{LAYERS[layer].key or "area_id"}"'
    SubElement(root, "layerGeometryType").text = {"MultiPolygon": "2", "MultiLineString": "1"}.get(
        LAYERS[layer].geometry, "4"
    )
    text = ElementTree.tostring(root, encoding="unicode")
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{text}\n"


def _fill_widget(widget: Element, codes: str) -> None:
    widget.set("type", "ValueMap" if codes else "TextEdit")
    config = SubElement(SubElement(widget, "config"), "Option", type="Map")
    if not codes:
        return
    entries = SubElement(config, "Option", name="map", type="List")
    for code, zh, _ in CODE_LISTS[codes]:
        SubElement(SubElement(entries, "Option", type="Map"), "Option", name=zh, type="QString", value=code)


def _add_renderer(root: Element, layer: str) -> None:
    symbols = _symbols(layer)
    if layer not in _COLOURED_BY:
        renderer = SubElement(root, "renderer-v2", type="singleSymbol", symbollevels="0", forceraster="0")
        holder = SubElement(renderer, "symbols")
    else:
        attribute = _COLOURED_BY[layer][0]
        renderer = SubElement(root, "renderer-v2", type="categorizedSymbol", attr=attribute, symbollevels="0")
        categories = SubElement(renderer, "categories")
        holder = SubElement(renderer, "symbols")
        for number, symbol in enumerate(symbols):
            entry = {"symbol": str(number), "value": symbol.value, "label": symbol.label, "render": "true"}
            SubElement(categories, "category", entry)
    for number, symbol in enumerate(symbols):
        _add_symbol(holder, number, layer, symbol.colour)


def _symbols(layer: str) -> Sequence[_Symbol]:
    if layer not in _COLOURED_BY:
        return [_Symbol("", "", _GREY)]
    codes = _COLOURED_BY[layer][1]
    colours = _PALETTE[codes].split()
    # The last one is for what no list knows: a new code must not be invisible.
    known = [_Symbol(c, f"{zh} {en}", colour) for (c, zh, en), colour in zip(CODE_LISTS[codes], colours, strict=True)]
    return [*known, _Symbol("", "其他 other", _GREY)]


def _add_symbol(holder: Element, number: int, layer: str, colour: str) -> None:
    if LAYERS[layer].geometry == "MultiLineString":
        kind, name = "line", "SimpleLine"
        options = {"line_color": f"{colour},255", "line_width": "0.6", "line_width_unit": "MM", "line_style": "solid"}
    else:
        kind, name = "fill", "SimpleFill"
        fill = {"area": "no", "not_observed": "b_diagonal"}.get(layer, "solid")
        options = {"color": f"{colour},140", "style": fill, "outline_color": f"{colour},255", "outline_width": "0.4"}
        options |= {"outline_style": "solid", "outline_width_unit": "MM"}
    symbol = SubElement(holder, "symbol", type=kind, name=str(number), alpha="1", clip_to_extent="1", force_rhr="0")
    entry = {"class": name, "pass": "0", "locked": "0", "enabled": "1"}
    values = SubElement(SubElement(symbol, "layer", entry), "Option", type="Map")
    for key, value in options.items():
        SubElement(values, "Option", name=key, type="QString", value=value)


def _map_tip(layer: str) -> str:
    titles = {column.name: column.zh for column in columns_of(layer)}
    lines = [f"<b>{titles[name]}</b> [% {_quoted(name)} %]" for name in _TIP[layer]]
    return "<br>".join(lines)


def _quoted(name: str) -> str:
    value = f"coalesce(to_string(\"{name}\"), '')"
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        value = f"replace({value}, '{sign}', '{entity}')"
    return value
