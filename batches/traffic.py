"""Traffic: lines, calls, tokens and latencies over time, noted with every commit and rolled up once a minute."""

import bisect
import dataclasses
import datetime
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Sum

from api.clock import database_now
from api.prepared import PreparedAddition
from batches import speed
from batches.executor.lines import Code, Entry
from batches.models import Batch, BatchMinute, OwnerHour, TrafficSlice
from batches.models.traffic import COUNTS, LATENCIES, LATENCY_EDGES

SETTLED_AFTER = datetime.timedelta(minutes=2)  # no commit of a minute takes longer
MINUTES_KEPT = datetime.timedelta(days=2)
ROLLS_KEPT = datetime.timedelta(days=90)
NEVER_CALLED = frozenset({Code.BATCH_CANCELLED, Code.BATCH_EXPIRED})


def note(batch_id: str, entries: Sequence[Entry], now: datetime.datetime) -> None:
    """Count lines to the present minute of their batch. Part of the transaction that commits them."""
    called = [entry for entry in entries if entry.cause not in NEVER_CALLED]
    if called:
        minute = now.replace(second=0, microsecond=0)
        _add_to_minute.run(batch_id=batch_id, minute=minute, **count(called))


def count(entries: Sequence[Entry]) -> dict[str, int]:
    completed = [entry for entry in entries if entry.completed]
    counts = dict.fromkeys(LATENCIES, 0) | {
        "completed": len(completed),
        "failed": len(entries) - len(completed),
        "calls": sum([entry.attempts for entry in entries]),
        "input_tokens": sum([entry.input_tokens for entry in entries]),
        "output_tokens": sum([entry.output_tokens for entry in entries]),
    }
    for latency, lines in Counter([entry.latency_ms for entry in completed]).items():
        counts[LATENCIES[bisect.bisect_left(LATENCY_EDGES, latency)]] += lines
    return counts


def roll_up(now: datetime.datetime) -> int:
    """Add the minutes that are over to the slices of upstreams and the hours of owners, each exactly once.

    Safe to run by many at once. Returns how many minutes it took.
    """
    over = BatchMinute.objects.filter(roll=None, minute__lt=now - SETTLED_AFTER)
    if (
        not over.exists()
    ):  # an update takes SQLite's write lock even when there is nothing to update
        return 0
    roll = secrets.token_hex(16)
    with transaction.atomic():
        taken = over.update(roll=roll)
        mine = BatchMinute.objects.filter(roll=roll)
        _roll(
            mine.filter(batch__upstream__isnull=False),
            ["batch__upstream_id", "batch__model"],
            _add_to_slice,
            lambda minute, upstream, model: {
                "start": minute.replace(minute=minute.minute // 10 * 10),
                "upstream_id": upstream,
                "model": model or "",
            },
        )
        _roll(
            mine,
            ["batch__account_id", "batch__external_user_id"],
            _add_to_hour,
            lambda minute, account, user: {
                "hour": minute.replace(minute=0),
                "owner": f"{account}:{user or ''}",
                "account_id": account,
                "external_user_id": user,
            },
        )
    return taken


def _roll(minutes: Any, group: list[str], addition: PreparedAddition, key_of: Any) -> None:
    rows = minutes.values_list("minute", *group).annotate(*map(Sum, COUNTS)).order_by()
    sums: dict[tuple[tuple[str, Any], ...], Counter[str]] = {}
    for minute, *rest in rows:
        key = tuple(key_of(minute, *rest[: len(group)]).items())
        sums.setdefault(key, Counter()).update(dict(zip(COUNTS, rest[len(group) :], strict=True)))
    # In one order, so that two rolls at once do not wait for each other in a circle.
    for key in sorted(sums, key=repr):
        addition.run(**dict(key), **{name: sums[key][name] for name in COUNTS})


def forget() -> None:
    """Delete what is older than anybody looks at."""
    now = database_now()
    BatchMinute.objects.filter(minute__lt=now - MINUTES_KEPT).exclude(roll=None).delete()
    TrafficSlice.objects.filter(start__lt=now - ROLLS_KEPT).delete()
    OwnerHour.objects.filter(hour__lt=now - ROLLS_KEPT).delete()


MOST_POINTS = 60
STEPS = tuple(datetime.timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 20, 60, 120))


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """What a span of time brought. Latencies in milliseconds, None where nothing was completed."""

    start: datetime.datetime
    completed: int
    failed: int
    median: float | None
    slow: float | None  # the 95th percentile

    @classmethod
    def of(cls, start: datetime.datetime, counts: Any) -> "Point":
        numbers = [counts[name] for name in LATENCIES]
        latencies = percentile(numbers, 0.5), percentile(numbers, 0.95)
        return cls(start, counts["completed"], counts["failed"], *latencies)


@dataclasses.dataclass(frozen=True, slots=True)
class Pulse:
    """How fast a batch goes, and went: points from its first line to its last, a `step` apart, as far as they are kept."""

    points: list[Point]
    step: datetime.timedelta
    lines_a_second: float  # lately


def pulse(batch: Batch, now: datetime.datetime) -> Pulse:
    rows = list(
        BatchMinute.objects.filter(batch=batch).order_by("minute").values_list("minute", *COUNTS)
    )
    if not rows:
        return Pulse([], STEPS[0], 0.0)
    first, last = rows[0][0], rows[-1][0]
    step = next((one for one in STEPS if (last - first) / one < MOST_POINTS), STEPS[-1])
    found: defaultdict[datetime.datetime, Counter[str]] = defaultdict(Counter)
    for minute, *numbers in rows:
        found[_floor(minute, step)].update(dict(zip(COUNTS, numbers, strict=True)))
    start, points = _floor(first, step), []
    while start <= last:
        points.append(Point.of(start, found[start]))
        start += step
    lately = sum(row[1] + row[2] for row in rows if row[0] >= speed.lately(now))
    return Pulse(points, step, speed.lines_a_second(batch, lately, now))


def _floor(minute: datetime.datetime, step: datetime.timedelta) -> datetime.datetime:
    return minute - datetime.timedelta(seconds=minute.timestamp() % step.total_seconds())


def percentile(latencies: Sequence[int], share: float) -> float | None:
    """The latency, in milliseconds, that `share` of the calls kept within, estimated within its span; None without calls.

    latencies: the counts of LATENCIES, in their order.
    """
    wanted, start = share * sum(latencies), 0
    if not wanted:
        return None
    for number, end in zip(latencies, (*LATENCY_EDGES, LATENCY_EDGES[-1]), strict=True):
        if number and wanted <= number:
            return start + (end - start) * wanted / number
        wanted -= number
        start = end
    return float(LATENCY_EDGES[-1])


def total(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Add up rows of COUNTS."""
    sums = Counter(dict.fromkeys(COUNTS, 0))
    for row in rows:
        sums.update({name: row[name] or 0 for name in COUNTS})
    return dict(sums)


_add_to_minute = PreparedAddition(BatchMinute, ["batch_id", "minute"], COUNTS)
_add_to_slice = PreparedAddition(TrafficSlice, ["start", "upstream_id", "model"], COUNTS)
_add_to_hour = PreparedAddition(
    OwnerHour, ["hour", "owner"], COUNTS, beside=["account_id", "external_user_id"]
)
