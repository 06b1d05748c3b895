"""How a list moves without being loaded again: what may change of a row, by key, as texts and attributes only.

Rows keep their places, and so their ticks; a page without rows to tick has `data-redraw` (static/console/redraw.js).

A part that is written with `live="<row>.<key>"` follows the change that a page returns for that row and key.
`static/console/live.js` asks for the rows in sight, every three seconds, while the tab is shown.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from django.http import JsonResponse

from console.charts import Progress

Change = dict[str, Any]  # {"text": ..., "attributes": {...}}, either left out


def text(value: str) -> Change:
    return {"text": value}


def shown(is_shown: bool) -> Change:
    """A part that comes and goes."""
    return {"attributes": {"hidden": None if is_shown else ""}}


def badge(value: str, tone: str, told: str = "") -> Change:
    """A badge of `console.parts.badge` that says something else now."""
    return {"text": value, "attributes": {"class": f"badge {tone}", "title": told}}


def progress(now: Progress, left: str = "") -> dict[str, Change]:
    """The parts of `console.parts.progress_cell`, by their keys."""
    return {
        "bar": {"attributes": {"aria-label": now.told}},
        "done": {"attributes": {"width": now.done_width}},
        "failed": {"attributes": {"x": now.done_width, "width": now.failed_width}},
        "ended": text(now.ended_text),
        "rest": text(now.rest_text),
        "left": text(left),
    }


def answer(changes: Iterable[tuple[str, Mapping[str, Change]]]) -> JsonResponse:
    """The answer to live.js: for each row's id, its changes by key."""
    return JsonResponse(
        {f"{row}.{key}": change for row, of_row in changes for key, change in of_row.items()}
    )
