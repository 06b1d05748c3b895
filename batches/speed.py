"""How fast batches get on, from the minutes that traffic notes, and how long they still take at that."""

import datetime
from collections.abc import Iterable, Mapping

from django.db.models import F, Sum

from batches.models import Batch, BatchMinute, Status

LATELY = datetime.timedelta(minutes=5)


def lately(now: datetime.datetime) -> datetime.datetime:
    """The minute from which on lines count for the present speed."""
    return (now - LATELY).replace(second=0, microsecond=0)


def lines_a_second(batch: Batch, lines: int, now: datetime.datetime) -> float:
    """The speed of a batch that got so many lines done `lately`: since then, or since it began to run."""
    since = lately(now)
    began = max(since, batch.in_progress_at or since)
    return lines / max((now - began).total_seconds(), 1)


def speeds(batches: Iterable[Batch], now: datetime.datetime) -> dict[str, float]:
    """Lines a second of each batch that runs. With one question; without any such batch with none."""
    running = {batch.pk: batch for batch in batches if batch.status == Status.IN_PROGRESS}
    if not running:
        return {}
    minutes = BatchMinute.objects.filter(batch__in=list(running), minute__gte=lately(now))
    sums = minutes.order_by().values_list("batch").annotate(lines=Sum(F("completed") + F("failed")))
    return {pk: lines_a_second(running[pk], lines, now) for pk, lines in sums}


def seconds_left(batch: Batch, speeds: Mapping[str, float]) -> float | None:
    """How long a batch still takes at its speed; None when nothing tells, as when it waits or is paused."""
    open_lines = batch.total - batch.completed - batch.failed
    speed = speeds.get(batch.pk, 0)
    if batch.status != Status.IN_PROGRESS or batch.paused_at is not None or not open_lines:
        return None
    return open_lines / speed if speed else None
