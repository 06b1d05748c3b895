"""How fast batches get on, from the minutes that traffic notes, and how long they still take at that."""

import datetime
from collections.abc import Iterable, Mapping

from django.db.models import F, Min, Sum

from batches.models import Batch, BatchMinute, Status

LATELY = datetime.timedelta(minutes=5)


def speeds(batches: Iterable[Batch], now: datetime.datetime) -> dict[str, float]:
    """Lines a second of each batch that runs, lately. With one question; without any such batch with none."""
    running = [batch.pk for batch in batches if batch.status == Status.IN_PROGRESS]
    if not running:
        return {}
    since = (now - LATELY).replace(second=0, microsecond=0)
    minutes = BatchMinute.objects.filter(batch__in=running, minute__gte=since).order_by()
    sums = minutes.values_list("batch").annotate(
        lines=Sum(F("completed") + F("failed")), first=Min("minute")
    )
    return {pk: lines / max((now - first).total_seconds(), 1) for pk, lines, first in sums}


def seconds_left(batch: Batch, speeds: Mapping[str, float]) -> float | None:
    """How long a batch still takes at its speed; None when nothing tells, as when it waits or is paused."""
    open_lines = batch.total - batch.completed - batch.failed
    speed = speeds.get(batch.pk, 0)
    if batch.status != Status.IN_PROGRESS or batch.paused_at is not None or not open_lines:
        return None
    return open_lines / speed if speed else None
