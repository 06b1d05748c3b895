"""What runs, what hurts and who is affected, at one look: in a handful of queries, however many batches there are.

Sums come from what traffic has rolled up, never from lines or batches.
"""

import dataclasses
import datetime
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from django.db.models import (
    BooleanField,
    Case,
    CharField,
    Count,
    DateTimeField,
    Exists,
    F,
    IntegerField,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Now
from django.utils import timezone
from django_q.models import Failure

from accounts.models import Account, ExternalUser
from api.clock import DatabaseNow
from batches import speed, traffic
from batches.models import (
    TERMINAL,
    Batch,
    BatchMinute,
    Engine,
    Host,
    OwnerHour,
    Shard,
    Share,
    Status,
    TrafficSlice,
    Upstream,
)
from batches.models.traffic import COUNTS, LATENCIES
from batches.traffic import Point

DAY = datetime.timedelta(hours=24)
SLICE = datetime.timedelta(minutes=10)
NOW = datetime.timedelta(minutes=5)  # what "now" is taken over
SHOWN = 8
ACTIVE = tuple(status for status in Status if status not in TERMINAL)


@dataclasses.dataclass(frozen=True, slots=True)
class FailedTasks:
    """A function of the queue's that failed in the last 24 hours."""

    func: str
    count: int
    last: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """Batches that have not ended, and what failed to work on them.

    oldest: the batch whose lines have waited longest, and since when; None without one.
    """

    batches: dict[Status, int]
    paused: int
    running: int  # in progress, and not paused
    oldest: tuple[str, datetime.datetime] | None
    failed: list[FailedTasks]  # the latest first

    @property
    def active(self) -> int:
        return sum(self.batches.values())


@dataclasses.dataclass(frozen=True, slots=True)
class Traffic:
    """The last 24 hours, ten minutes by ten minutes, the present ones included; and the last minutes."""

    points: list[Point]
    completed: int
    failed: int
    lines_a_second: float  # lately
    median: float | None  # lately
    slow: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Busy:
    """An owner with many lines in the last 24 hours."""

    account_id: int
    account: str
    external_user_id: int | None
    external_user: str | None
    completed: int
    failed: int


@dataclasses.dataclass(frozen=True, slots=True)
class Worker:
    """A `runworker`, or an engine of one."""

    kind: str  # host or engine
    name: str
    pid: int
    version: str  # of a host
    slots: int  # of a host: engines it may run
    in_flight: int  # of an engine: calls
    stopping: bool
    started_at: datetime.datetime
    heard_at: datetime.datetime  # its last heartbeat
    alive: bool


def work() -> Work:
    """Batches that have not ended, by state; and tasks that failed lately, which come with them."""
    nothing, no_time = Value(0, IntegerField()), Value(None, DateTimeField())
    active = Batch.objects.filter(status__in=ACTIVE).order_by()
    counts = active.values_list("status", no_time).annotate(
        count=Count("pk"), paused=Count("pk", filter=Q(paused_at__isnull=False))
    )
    shards = Shard.objects.filter(batch=OuterRef("pk"), state=Shard.State.WAITING)
    waiting = Batch.objects.filter(Exists(shards), status=Status.IN_PROGRESS, paused_at=None)
    first = waiting.order_by("in_progress_at", "pk").values("pk")[:1]
    oldest = Batch.objects.filter(pk=Subquery(first)).order_by()
    rows: Any = counts.union(
        oldest.values_list("pk", "in_progress_at", nothing, nothing), _failed_tasks(), all=True
    )
    batches, paused = dict.fromkeys(ACTIVE, 0), dict.fromkeys(ACTIVE, 0)
    found, failed = None, []
    for key, moment, count, count_paused in rows:
        if moment is None:
            batches[Status(key)], paused[Status(key)] = count, count_paused
        elif count:
            failed.append(FailedTasks(key, count, moment))
        else:
            found = (key, moment)
    failed.sort(key=lambda one: one.last, reverse=True)
    running = batches[Status.IN_PROGRESS] - paused[Status.IN_PROGRESS]
    return Work(batches, sum(paused.values()), running, found, failed)


def _failed_tasks() -> Any:
    """Rows of a function, when it failed last, how often, and 0. The queue's rows bear the host's clock."""
    lately: Any = Failure.objects.filter(stopped__gte=timezone.now() - DAY).order_by()
    return lately.values_list("func").annotate(
        last=Max("stopped"), count=Count("pk"), paused=Value(0, IntegerField())
    )


def day(now: datetime.datetime) -> Traffic:
    """The traffic of the last 24 hours."""
    first = _slice(now - DAY)
    lately: Counter[str] = Counter()
    found: defaultdict[datetime.datetime, Counter[str]] = defaultdict(Counter)
    for is_of_now, start, *numbers in _counts_since(first, now - NOW):
        counts = lately if is_of_now else found[_slice(start)]
        counts.update(dict(zip(COUNTS, numbers, strict=True)))
    points = _points(first, found)
    return Traffic(
        points,
        sum(point.completed for point in points),
        sum(point.failed for point in points),
        (lately["completed"] + lately["failed"]) / NOW.total_seconds(),
        *_latencies(lately),
    )


def _counts_since(first: datetime.datetime, lately: datetime.datetime) -> Any:
    """Rows of (False, start, COUNTS) for what is rolled up since `first` and what is not yet, and of (True, ...) for the
    minutes since `lately`.
    """
    sums = [Sum(name) for name in COUNTS]
    minutes = BatchMinute.objects.order_by()
    no, yes = Value(False, BooleanField()), Value(True, BooleanField())
    rolled = TrafficSlice.objects.filter(start__gte=first).order_by().values_list(no, "start")
    unrolled = minutes.filter(roll=None).values_list(no, "minute")
    recent = minutes.filter(minute__gte=_minute(lately)).values_list(yes, "minute")
    parts = [part.annotate(*sums) for part in (rolled, unrolled, recent)]
    return parts[0].union(*parts[1:], all=True)


def _minute(moment: datetime.datetime) -> datetime.datetime:
    return moment.replace(second=0, microsecond=0)


def _points(
    first: datetime.datetime, found: Mapping[datetime.datetime, Counter[str]]
) -> list[Point]:
    starts = [first + number * SLICE for number in range(DAY // SLICE + 1)]
    return [Point.of(start, found.get(start, Counter())) for start in starts]


def _slice(moment: datetime.datetime) -> datetime.datetime:
    return moment.replace(minute=moment.minute // 10 * 10, second=0, microsecond=0)


def _latencies(counts: Any) -> tuple[float | None, float | None]:
    numbers = [counts[name] for name in LATENCIES]
    return traffic.percentile(numbers, 0.5), traffic.percentile(numbers, 0.95)


def running(now: datetime.datetime) -> list[Any]:
    """Batches whose lines are being called: the highest priority first, then those that began last.

    Each has `lines_a_second`, its present speed.
    """
    minutes = BatchMinute.objects.filter(batch=OuterRef("pk"), minute__gte=speed.lately(now))
    lines = minutes.order_by().values("batch").annotate(lines=Sum(F("completed") + F("failed")))
    batches: Any = Batch.objects.filter(status=Status.IN_PROGRESS, paused_at=None)
    found = list(
        batches.select_related("account", "external_user")
        .annotate(lately=Subquery(lines.values("lines")))
        .order_by("-priority", "-created_at", "-id")[:SHOWN]
    )
    for batch in found:
        batch.lines_a_second = speed.lines_a_second(batch, batch.lately or 0, now)
    return found


def busiest(now: datetime.datetime) -> list[Busy]:
    """The owners with the most lines in the last 24 hours."""
    since = (now - DAY).replace(minute=0, second=0, microsecond=0)
    # Names are looked up for each owner; a join would for each of their hours.
    names = Account.objects.filter(pk=OuterRef("account_id")).values("name")
    users = ExternalUser.objects.filter(pk=OuterRef("external_user_id")).values("external_id")
    rows = (
        OwnerHour.objects.filter(hour__gt=since)
        .values("account_id", "external_user_id")
        .annotate(Sum("completed"), Sum("failed"), lines=Sum(F("completed") + F("failed")))
        .annotate(name=Subquery(names), user=Subquery(users))
        .order_by("-lines")[:SHOWN]
    )
    return [
        Busy(
            row["account_id"],
            row["name"],
            row["external_user_id"],
            row["user"],
            row["completed__sum"],
            row["failed__sum"],
        )
        for row in rows
    ]


def upstreams() -> list[Any]:
    """All of them. Each has `slots`: how many calls living engines may have in flight there; None for none."""
    return list(with_slots(Upstream.objects.order_by("name")))


def with_slots(upstreams: QuerySet[Upstream]) -> QuerySet[Any]:
    """Annotate `slots`. One without a limit has no shares of its own: there, those of its batches are added up."""
    alive = Share.objects.filter(engine__lease_expires_at__gt=Now()).order_by()
    own = alive.filter(upstream=OuterRef("pk")).values("upstream").annotate(sum=Sum("slots"))
    # Only batches that have not ended have any; saying so keeps SQLite from trying all that there ever were.
    of_active = alive.filter(batch__upstream=OuterRef("pk"), batch__status__in=ACTIVE)
    batches = of_active.values("batch__upstream")
    of_batches = batches.annotate(sum=Sum("slots")).values("sum")
    return upstreams.annotate(
        slots=Case(
            When(limit__isnull=True, then=Subquery(of_batches)),
            default=Subquery(own.values("sum")),
        )
    )


@dataclasses.dataclass(frozen=True, slots=True)
class ModelDay:
    """What the last 24 hours brought of one model, rolled up."""

    model: str
    completed: int
    failed: int
    calls: int
    median: float | None
    slow: float | None


def day_of(upstream: Upstream, now: datetime.datetime) -> tuple[list[Point], list[ModelDay]]:
    """The last 24 hours of one upstream, ten minutes by ten minutes; and by model, the busiest first."""
    first = _slice(now - DAY)
    times: defaultdict[datetime.datetime, Counter[str]] = defaultdict(Counter)
    models: defaultdict[str, Counter[str]] = defaultdict(Counter)
    slices = TrafficSlice.objects.filter(upstream=upstream, start__gte=first)
    for start, model, *numbers in slices.values_list("start", "model", *COUNTS):
        counts = dict(zip(COUNTS, numbers, strict=True))
        times[start].update(counts)
        models[model].update(counts)
    found = [
        ModelDay(model, counts["completed"], counts["failed"], counts["calls"], *_latencies(counts))
        for model, counts in models.items()
    ]
    return _points(first, times), sorted(found, key=lambda one: -one.calls)


def workers() -> tuple[list[Worker], datetime.datetime]:
    """Hosts, then engines, each those first that live; and the database's time, which comes with them.

    Without any the time is this host's own, for there is no lease that it could misjudge.
    """
    nothing, no = Value(0, IntegerField()), Value(False, BooleanField())
    host, engine, none = (Value(text, CharField()) for text in ("host", "engine", ""))
    times = ("started_at", "lease_expires_at", DatabaseNow())
    hosts = Host.objects.values_list(host, "name", "pid", "version", "slots", nothing, no, *times)
    engines = Engine.objects.values_list(
        engine, "host", "pid", none, nothing, "in_flight", "stopping", *times
    )
    rows: Any = list(hosts.union(engines, all=True))
    now = (rows and rows[0][-1]) or timezone.now()
    lease = {"host": Host.LEASE, "engine": Engine.lease()}
    found = [Worker(*[*row[:-2], min(now, row[-2] - lease[row[0]]), row[-2] > now]) for row in rows]
    return sorted(
        found, key=lambda one: (one.kind != "host", not one.alive, one.name, one.pid)
    ), now
