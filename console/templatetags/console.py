"""What templates write with: safe text, numbers, times, the small parts and the charts."""

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

from django import template
from django.utils.html import conditional_escape, format_html
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
register.simple_tag(parts.use_bar)


@register.filter
def milliseconds(value: float | None) -> str:
    """A time that is kept in milliseconds; a dash for none."""
    return parts.EMPTY if value is None else text.duration(value / 1000)


@register.filter
def of(numbers: dict[str, int], key: str) -> str:
    """The number that a mapping has under a key; a dash for none."""
    return text.number(numbers[key]) if key in numbers else parts.EMPTY


@register.filter
def block(value: object, limit: int | None = None) -> str:
    """`visible` for a block of text, which keeps its lines."""
    return text.visible(value, limit, lines=True)


@register.filter
def seen(html: Any) -> SafeString:
    """What Django has made of a value, with `visible` applied to it. Tags stay as they are: they hide nothing."""
    return mark_safe(text.visible(conditional_escape(html), lines=True))  # noqa: S308 - escaped before


@register.filter
def labelled(cells: Iterable[str], headers: Iterable[dict[str, Any]]) -> list[SafeString]:
    """Give each cell of a row the name of its column, which a phone shows beside it."""
    # Django adds a last, hidden cell where a list can be edited.
    nameless = {"text": "", "class_attrib": ""}
    pairs = zip_longest(cells, headers, fillvalue=nameless)
    return [_labelled(cell, header) for cell, header in pairs]


def _labelled(cell: Any, header: dict[str, Any]) -> SafeString:
    name = "" if "action-checkbox" in header["class_attrib"] else capfirst(header["text"])
    # Django writes each cell as <td ...> or <th ...>, and escapes what is in it.
    opening, rest = mark_safe(cell[:3]), mark_safe(cell[3:])  # noqa: S308
    return format_html('{} data-label="{}"{}', opening, name, seen(rest))


@register.inclusion_tag("console/bars.html")
def bars(chart: charts.Bars) -> dict[str, Any]:
    return {"chart": chart, "box": charts.BOX}


@register.inclusion_tag("console/lines.html")
def lines(chart: charts.Lines) -> dict[str, Any]:
    return {"chart": chart, "box": charts.BOX}


@register.inclusion_tag("console/command.html")
def command(text: str) -> dict[str, Any]:
    """What to type into a shell, and what copies it."""
    return {"command": text}
