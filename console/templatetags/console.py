"""What templates write with: safe text, numbers, times, the small parts and the charts."""

import re
from collections.abc import Iterable
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

from console import charts, parts, text

register = template.Library()

register.filter("visible", text.visible)
register.filter("number", text.number)
register.filter("short_number", text.short_number)
register.filter("size", text.size)
register.filter("duration", text.duration)
register.filter("page_of", parts.page_of)

register.simple_tag(parts.badge)
register.simple_tag(parts.icon)
register.simple_tag(parts.copy_button)
register.simple_tag(parts.short_id)
register.simple_tag(parts.moment)
register.simple_tag(parts.progress_bar)
register.simple_tag(parts.progress_cell)
register.simple_tag(parts.spark)


@register.filter
def block(value: object, limit: int | None = None) -> str:
    """`visible` for a block of text, which keeps its lines."""
    return text.visible(value, limit, lines=True)


@register.filter
def labelled(cells: Iterable[str], headers: Iterable[dict[str, Any]]) -> list[SafeString]:
    """Give each cell of a row the name of its column, which a phone shows beside it."""
    return [
        mark_safe(_OPENING.sub(rf"\1 {_label(header)}", cell, count=1))  # noqa: S308 - written by Django
        for cell, header in zip(cells, headers, strict=True)
    ]


_OPENING = re.compile(r"^(<t[dh])")


def _label(header: dict[str, Any]) -> str:
    name = "" if "action-checkbox" in header["class_attrib"] else capfirst(header["text"])
    return format_html('data-label="{}"', name)


@register.inclusion_tag("console/bars.html")
def bars(chart: charts.Bars) -> dict[str, Any]:
    return {"chart": chart, "box": charts.BOX}


@register.inclusion_tag("console/lines.html")
def lines(chart: charts.Lines) -> dict[str, Any]:
    return {"chart": chart, "box": charts.BOX}
