"""What runs, what hurts and who is affected, at one look: in a handful of queries, however many batches there are.

Sums come from what traffic has rolled up, never from lines or batches.
"""

import dataclasses
import datetime
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import (
    BooleanField,
    CharField,
    Count,
    Exists,
    F,
    IntegerField,
    Min,
    OuterRef,
    Q,
    Sum,
    Value,
)

from batches import traffic
from batches.models import (
    TERMINAL,
    Batch,
    BatchMinute,
    Engine,
    Host,
    OwnerHour,
    Shard,
    Status,
    TrafficSlice,
    Upstream,
)
from batches.models.traffic import COUNTS, LATENCIES

DAY = datetime.timedelta(hours=24)
SLICE = datetime.timedelta(minutes=10)
NOW = datetime.timedelta(minutes=5)  # what "now" is taken over
SHOWN = 8
ACTIVE = tuple(status for status in Status if status not in TERMINAL)
DISK_FULL = 0.85


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """Batches that have not ended. `oldest`: when the one whose lines have waited longest began, None without one."""

    batches: dict[Status, int]
    paused: int
    oldest: datetime.datetime | None

    @property
    def active(self) -> int:
        return sum(self.batches.values())


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """What ten minutes brought. Latencies in milliseconds, None where nothing was completed."""

    start: datetime.datetime
    completed: int
    failed: int
    median: float | None
    slow: float | None  # the 95th percentile


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
    lease_expires_at: datetime.datetime
    alive: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Warning:
    """Something an operator should know. `about`: what it leads to: "workers", "upstreams", "batches" or ""."""

    text: str
    about: str = ""


def work(now: datetime.datetime) -> Work:
    """Batches that have not ended, by state."""
    waiting = Shard.objects.filter(batch=OuterRef("pk"), state=Shard.State.WAITING)
    running = Q(status=Status.IN_PROGRESS)
    found = Batch.objects.filter(status__in=ACTIVE).aggregate(
        **{status.value: Count("pk", filter=Q(status=status)) for status in ACTIVE},
        paused=Count("pk", filter=Q(paused_at__isnull=False)),
        oldest=Min("in_progress_at", filter=running & Q(paused_at=None) & Q(Exists(waiting))),
    )
    return Work({s: found[s.value] for s in ACTIVE}, found["paused"], found["oldest"])


def day(now: datetime.datetime) -> Traffic:
    """The traffic of the last 24 hours."""
    first = _slice(now - DAY)
    lately: Counter[str] = Counter()
    found: defaultdict[datetime.datetime, Counter[str]] = defaultdict(Counter)
    for is_of_now, start, *numbers in _counts_since(first, now - NOW):
        counts = lately if is_of_now else found[_slice(start)]
        counts.update(dict(zip(COUNTS, numbers, strict=True)))
    starts = [first + number * SLICE for number in range(DAY // SLICE + 1)]
    points = [_point(start, found[start]) for start in starts]
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
    recent = minutes.filter(minute__gte=lately.replace(second=0, microsecond=0)).values_list(
        yes, "minute"
    )
    parts = [part.annotate(*sums) for part in (rolled, unrolled, recent)]
    return parts[0].union(*parts[1:], all=True)


def _slice(moment: datetime.datetime) -> datetime.datetime:
    return moment.replace(minute=moment.minute // 10 * 10, second=0, microsecond=0)


def _point(start: datetime.datetime, counts: Counter[str]) -> Point:
    return Point(start, counts["completed"], counts["failed"], *_latencies(counts))


def _latencies(counts: Any) -> tuple[float | None, float | None]:
    numbers = [counts[name] for name in LATENCIES]
    return traffic.percentile(numbers, 0.5), traffic.percentile(numbers, 0.95)


def running() -> list[Batch]:
    """Batches whose lines are being called: the highest priority first, then those that began last."""
    batches = Batch.objects.filter(status=Status.IN_PROGRESS, paused_at=None)
    return list(
        batches.select_related("account", "external_user").order_by(
            "-priority", "-created_at", "-id"
        )[:SHOWN]
    )


def busiest(now: datetime.datetime) -> list[Busy]:
    """The owners with the most lines in the last 24 hours."""
    hours = OwnerHour.objects.filter(
        hour__gt=(now - DAY).replace(minute=0, second=0, microsecond=0)
    )
    rows = (
        hours.values_list(
            "account_id", "account__name", "external_user_id", "external_user__external_id"
        )
        .annotate(Sum("completed"), Sum("failed"), lines=Sum(F("completed") + F("failed")))
        .order_by("-lines")[:SHOWN]
    )
    return [Busy(*row[:-1]) for row in rows]


def upstreams() -> list[Upstream]:
    return list(Upstream.objects.order_by("name"))


def workers(now: datetime.datetime) -> list[Worker]:
    """Hosts, then engines, each those first that live."""
    nothing, no = Value(0, IntegerField()), Value(False, BooleanField())
    hosts = Host.objects.values_list(
        Value("host", CharField()),
        "name",
        "pid",
        "version",
        "slots",
        nothing,
        no,
        "started_at",
        "lease_expires_at",
    )
    engines = Engine.objects.values_list(
        Value("engine", CharField()),
        "host",
        "pid",
        Value("", CharField()),
        nothing,
        "in_flight",
        "stopping",
        "started_at",
        "lease_expires_at",
    )
    rows: Any = hosts.union(engines, all=True)
    found = [Worker(*[*row, row[-1] > now]) for row in rows]
    return sorted(found, key=lambda one: (one.kind != "host", not one.alive, one.name, one.pid))


def warnings(work: Work, upstreams: list[Upstream], workers: list[Worker]) -> list[Warning]:
    """What an operator should see to, from what the other functions found."""
    return [*_of_workers(work, workers), *_of_upstreams(upstreams), *_of_disks()]


def _of_workers(work: Work, workers: list[Worker]) -> list[Warning]:
    hosts = [worker for worker in workers if worker.kind == "host"]
    alive = [host for host in hosts if host.alive]
    found = []
    if not alive:
        waits = f"; {work.active} batches wait" if work.active else ""
        found.append(
            Warning(f"No worker is running{waits}. Start one: manage.py runworker", "workers")
        )
    found += [
        Warning(
            f"The worker {host.name} ({host.pid}) has not been heard of since "
            f"{host.lease_expires_at:%H:%M:%S} UTC.",
            "workers",
        )
        for host in hosts
        if not host.alive
    ]
    versions = {host.version for host in alive} | {settings.VERSION}
    if len(versions) > 1:
        text = f"Web server and workers run different versions: {', '.join(sorted(versions))}."
        found.append(Warning(text, "workers"))
    return found


def _of_upstreams(upstreams: list[Upstream]) -> list[Warning]:
    if not upstreams:
        return [Warning("There is no upstream, so no batch can run. Add one.", "upstreams")]
    found = []
    for upstream in upstreams:
        if upstream.paused_at is not None:
            why = upstream.pause_reason or "no reason was given"
            found.append(Warning(f"The upstream {upstream} is paused: {why}", "upstreams"))
        elif upstream.down_at is not None:
            since = f"{upstream.down_at:%Y-%m-%d %H:%M} UTC"
            text = f"The upstream {upstream} answers nobody since {since}: {upstream.last_error}"
            found.append(Warning(text, "upstreams"))
    return found


def _of_disks() -> list[Warning]:
    """One for each disk that is nearly full, by what lies on it."""
    disks: dict[int, tuple[list[str], Path]] = {}
    for name, path in (("storage", settings.STORAGE_DIR), ("data directory", settings.DATA_DIR)):
        place = next(one for one in (Path(path), *Path(path).parents) if one.exists())
        disks.setdefault(place.stat().st_dev, ([], place))[0].append(name)
    found = []
    for names, place in disks.values():
        usage = shutil.disk_usage(place)
        full = usage.used / usage.total
        if full >= DISK_FULL:
            of, left = " and the ".join(names), usage.free / 1e9
            found.append(
                Warning(f"The disk of the {of} is {full:.0%} full; {left:.1f} GB are left.")
            )
    return found
