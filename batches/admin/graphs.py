"""A day as it is drawn, wherever it is shown; and the addresses of the rows behind it."""

import datetime
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from batches.traffic import Point
from console.charts import Bars, Column, Lines, Series, bars, lines
from console.text import duration

HOUR = datetime.timedelta(hours=1)
TONES = {"done": "done", "failed": "failed"}
WITH_FAILURES = {"failed__gt": 0}  # of their rows, in an address
COLUMNS = {"batches_ownerhour": "hour", "batches_trafficslice": "start"}  # the time of their rows


def list_url(model: str, /, **chosen: Any) -> str:
    """The list of a model (as app_model), filtered."""
    url = reverse(f"admin:{model}_changelist")
    kept = {name: value for name, value in chosen.items() if value is not None}
    return f"{url}?{urlencode(kept)}" if kept else url


def throughput(points: list[Point], rows: str, **chosen: Any) -> Bars:
    """Lines hour by hour. Each column leads to the rows of that hour in the list `rows`, further filtered."""
    time, columns = COLUMNS[rows], []
    for hour, group in groupby(points, lambda point: point.start.replace(minute=0)):
        found = list(group)
        parts: dict[str, float] = {
            "done": sum(point.completed for point in found),
            "failed": sum(point.failed for point in found),
        }
        until = hour + HOUR
        span = {f"{time}__gte": hour.isoformat(), f"{time}__lt": until.isoformat()}
        url = list_url(rows, **span, **chosen) if any(parts.values()) else ""
        columns.append(Column(f"{hour:%H:%M}", parts, url))
    return bars("Lines done and failed, hour by hour", columns, TONES)


def latencies(points: list[Point]) -> Lines:
    until = points[-1].start - HOUR  # beyond it there is no room for a text
    labels = [
        f"{point.start:%H:%M}" if _is_labelled(point.start) and point.start <= until else ""
        for point in points
    ]
    series = [
        Series("half within (p50)", [point.median for point in points], "first"),
        Series("19 of 20 within (p95)", [point.slow for point in points], "second"),
    ]
    return lines("Latency of calls over 24 hours", labels, series, _tick)


def _is_labelled(start: datetime.datetime) -> bool:
    return start.minute == 0 and start.hour % 4 == 0


def _tick(milliseconds: float) -> str:
    return duration(milliseconds / 1000) if milliseconds else "0"
