"""The small pieces of HTML that every page is made of. Whatever goes in is text, and comes out escaped and visible."""

import datetime
from typing import Any

from django.contrib.admin.utils import quote
from django.db.models import Model
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from console.charts import BOX, Progress
from console.text import ago, number, visible

CELL_CHARS = 60
ID_CHARS = 15  # batch_ and nine digits tell any two apart
NEARLY_ALL = 0.9  # of a limit
EMPTY = "\u2013"  # a dash


def badge(
    text: object, tone: str = "calm", told: str = "", live: str = "", *, is_shown: bool = True
) -> SafeString:
    """A state in one word. Its tone (good, bad, warn, live, calm, idle) only repeats it, for the eye.

    live: the key under which `console.live` may say that it has changed, or that it is shown now.
    """
    return format_html(
        '<span class="badge {}" title="{}"{}{}>{}</span>',
        tone,
        told,
        followed(live),
        SafeString() if is_shown else SafeString(" hidden"),
        visible(text, CELL_CHARS),
    )


def followed(live: str) -> SafeString:
    """The attribute that lets a part follow what `console.live` says under this key."""
    return format_html(' data-live="{}"', live) if live else SafeString()


def icon(name: str) -> SafeString:
    """A drawing from icons.svg, for the eye only; what it stands beside must say the same."""
    sprite = static("console/icons.svg")
    return format_html(
        '<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>', sprite, name
    )


def copy_button(text: object, what: str = "") -> SafeString:
    """Puts a text on the clipboard; without JavaScript it keeps its place and is not seen."""
    return format_html(
        '<button type="button" class="copy" data-copy="{}" aria-label="Copy {}">{}</button>',
        text,
        what or visible(text, CELL_CHARS),
        icon("copy"),
    )


def page_of(row: Model) -> str:
    """Where the page of a row is."""
    options = row._meta
    name = f"admin:{options.app_label}_{options.model_name}_change"
    return reverse(name, args=[quote(str(row.pk))])


def link(text: object, url: str) -> SafeString:
    return format_html('<a href="{}">{}</a>', url, visible(text, CELL_CHARS))


def short_id(identifier: str, url: str = "") -> SafeString:
    """The beginning of an id, the whole of it beside the pointer and on the clipboard."""
    cut = visible(identifier[:ID_CHARS]) + ("…" if len(identifier) > ID_CHARS else "")
    shown = format_html('<a href="{}">{}</a>', url, cut) if url else cut
    whole = visible(identifier, 2 * CELL_CHARS)
    return format_html(
        '<span class="id" title="{}"><code>{}</code>{}</span>',
        whole,
        shown,
        copy_button(identifier),
    )


def progress_bar(progress: Progress, live: str = "") -> SafeString:
    """A bar in two colours over what is still to do."""
    return format_html(
        '<svg class="bar" viewBox="0 0 {box} 1" preserveAspectRatio="none" role="img" aria-label="{told}"{bar}>'
        '<rect class="done" x="0" width="{done}" height="1"{left}/>'
        '<rect class="failed" x="{done}" width="{failed}" height="1"{right}/></svg>',
        box=BOX,
        told=progress.told,
        done=progress.done_width,
        failed=progress.failed_width,
        bar=followed(live and f"{live}.bar"),
        left=followed(live and f"{live}.done"),
        right=followed(live and f"{live}.failed"),
    )


def progress_cell(progress: Progress, live: str = "", left: str = "", url: str = "") -> SafeString:
    """The bar, and below it the numbers it stands for, and for how long it still goes on (`<live>.left`).

    url: where the numbers lead, where they stand still.
    """
    return format_html(
        '<span class="progress">{}<span class="figures"><span{}>{}</span> <span class="quiet"{}>{}</span></span>'
        '<span class="quiet left"{}>{}</span></span>',
        progress_bar(progress, live),
        followed(live and f"{live}.ended"),
        link(progress.ended_text, url) if url else progress.ended_text,
        followed(live and f"{live}.rest"),
        progress.rest_text,
        followed(live and f"{live}.left"),
        left,
    )


def use_bar(used: int, limit: int) -> SafeString:
    """How much of a limit is used; it changes colour when nearly all of it is."""
    share = min(1.0, used / limit) if limit else 1.0
    return format_html(
        '<svg class="bar" viewBox="0 0 {} 1" preserveAspectRatio="none" role="img" aria-label="{} of the limit used">'
        '<rect class="{}" width="{}" height="1"/></svg>',
        BOX,
        f"{share:.0%}",
        "failed" if share >= NEARLY_ALL else "done",
        round(share * BOX),
    )


def moment(value: datetime.datetime | None, now: datetime.datetime | None = None) -> SafeString:
    """A time in UTC to the minute, or how long ago it is when `now` is given; in full beside the pointer."""
    if value is None:
        return format_html('<span class="quiet">{}</span>', EMPTY)
    utc = value.astimezone(datetime.UTC)
    form = "%d %b %H:%M" if utc.year == timezone.now().year else "%d %b %Y"
    shown = ago(value, now) if now else utc.strftime(form)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        utc.isoformat(),
        utc.strftime("%d %B %Y, %H:%M:%S UTC"),
        shown,
    )


def figures(value: float | None, live: str = "", url: str = "") -> SafeString:
    """A number in a column of numbers, leading to what it counts; nothing is quieter than something."""
    tone = "figures" if value else "figures quiet"
    shown = EMPTY if value is None else number(value)
    written = format_html('<span class="{}"{}>{}</span>', tone, followed(live), shown)
    return format_html('<a href="{}">{}</a>', url, written) if url else written


def two_lines(first: Any, second: Any) -> SafeString:
    """What matters, and below it, quieter, what explains it."""
    return format_html(
        '<span class="two">{}<span class="quiet">{}</span></span>',
        _shown(first),
        _shown(second),
    )


def in_a_row(*parts: SafeString) -> SafeString:
    """Badges beside each other."""
    joined = format_html_join("", "{}", ((part,) for part in parts))
    return format_html('<span class="marks">{}</span>', joined)


def followed_text(text: object, live: str) -> SafeString:
    """A text that `console.live` may change."""
    return format_html("<span{}>{}</span>", followed(live), visible(text))


def _shown(value: Any) -> Any:
    return value if isinstance(value, SafeString) else visible(value or EMPTY, CELL_CHARS)
