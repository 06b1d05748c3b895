"""Why a batch is not moving, and who is ahead of it, in plain words. Reads rows only; what engines know alone is not told."""

import dataclasses
import datetime
from typing import Any

from django.db.models import (
    Aggregate,
    Case,
    Count,
    Exists,
    F,
    IntegerField,
    Min,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Now

from batches.models import OPEN_LINES, TERMINAL, Batch, Host, Shard, Share, Status

AHEAD_SHOWN = 8
NO_WORKER = "No worker is running, so nothing moves. Start one: ./run manage runworker."
STEPS = {
    Status.VALIDATING: "its input file to be checked",
    Status.FINALIZING: "its result files to be put together",
    Status.CANCELLING: "its cancellation to be finished",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Rival:
    """An owner with lines for the same upstream: by turns with this batch, unless `first`."""

    account: str
    external_user: str | None
    batches: int
    open_lines: int
    in_hand: int  # lines of these batches that engines hold
    first: bool  # all of its lines go before: it has the higher priority


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """What holds a batch up, the weightiest reason first; and who shares its upstream."""

    reasons: list[str]
    own_batches_ahead: int = 0
    own_lines_ahead: int = 0
    rivals: list[Rival] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """Shards of a batch in one state; of those that run, what one engine holds, and when the first lease of it ends."""

    state: Shard.State
    engine: str  # "" when none holds them
    shards: int
    lines: int
    lapses_at: datetime.datetime | None


def with_facts(batches: QuerySet[Batch]) -> QuerySet[Any]:
    """Few batches with what their standing goes by, each by the database's time in `seen_at`, in one query for all."""
    shards = Shard.objects.filter(batch=OuterRef("pk"))
    shares = Share.objects.filter(engine__lease_expires_at__gt=Now())
    before = Batch.objects.filter(status=OuterRef("status"), created_at__lt=OuterRef("created_at"))
    return batches.select_related("upstream").annotate(
        seen_at=Now(),
        has_worker=Exists(Host.objects.filter(lease_expires_at__gt=Now())),
        batch_slots=_number(shares.filter(batch=OuterRef("pk")), "batch", Sum("slots")),
        upstream_slots=_number(
            shares.filter(upstream=OuterRef("upstream")), "upstream", Sum("slots")
        ),
        waiting_shards=_number(shards.filter(state=Shard.State.WAITING), "batch", Count("pk")),
        running_shards=_number(shards.filter(state=Shard.State.RUNNING), "batch", Count("pk")),
        # Only asked where it is told: of the states of the end there may be millions.
        before_it=Case(
            When(status__in=STEPS, then=_number(before, "status", Count("pk"))), default=Value(0)
        ),
    )


def _number(rows: QuerySet[Any], group: str, aggregate: Aggregate) -> Coalesce:
    numbers = rows.order_by().values(group).annotate(number=aggregate).values("number")
    return Coalesce(Subquery(numbers), 0, output_field=IntegerField())


def explain(batch: Batch) -> Standing:
    """Where a batch stands at this moment. One that comes from `with_facts` is not asked for once more."""
    known: Any = batch
    if not hasattr(batch, "seen_at") or not hasattr(batch, "has_worker"):
        known = with_facts(Batch.objects.all()).get(pk=batch.pk)
    told = reasons(known)
    if known.status == Status.IN_PROGRESS:
        return Standing(told, *_company(known))
    return Standing(told)


def reasons(batch: Any) -> list[str]:
    """Why it is not moving, of a batch from `with_facts`."""
    if batch.status in TERMINAL:
        return [f"It has ended: {Status(batch.status).label}."]
    if batch.status != Status.IN_PROGRESS:
        return [_in_a_step(batch)]
    found = [*_stops(batch), *_limits(batch), *_hands(batch)]
    return found or ["Nothing holds it up: its lines are being called."]


def _in_a_step(batch: Any) -> str:
    step = STEPS[Status(batch.status)]
    if batch.step_lease_expires_at is not None and batch.step_lease_expires_at > batch.seen_at:
        return f"A worker is at it: it waits for {step}."
    if not batch.has_worker:
        return NO_WORKER
    if batch.running_shards:
        return (
            f"It waits for the calls in flight of {_counted(batch.running_shards, 'shard')} to end."
        )
    before = batch.before_it
    turn = f"{_counted(before, 'batch')} came before it" if before else "it is the next"
    return f"It waits for {step}; {turn}."


def _stops(batch: Any) -> list[str]:
    """What keeps every line from being called."""
    found = []
    upstream = batch.upstream
    if batch.paused_at is not None:
        found.append(f"It is paused by {batch.paused_by}{_because(batch.pause_reason)}")
    if upstream is None:
        found.append(
            "No upstream was there for its model when it was checked. Cancel and requeue it."
        )
    elif upstream.paused_at is not None:
        found.append(f"The upstream {upstream} is paused{_because(upstream.pause_reason)}")
    elif upstream.down_at is not None:
        since = f"{upstream.down_at:%Y-%m-%d %H:%M} UTC"
        found.append(
            f"The upstream {upstream} has answered nobody since {since} ({upstream.last_error}). "
            "It is tried again every half a minute."
        )
    if not batch.has_worker:
        found.append(NO_WORKER)
    return found


def _because(reason: str) -> str:
    return f": {reason}" if reason else "."


def _limits(batch: Any) -> list[str]:
    """Limits that are used up."""
    found = []
    limit = batch.upstream.limit if batch.upstream else None
    if limit is not None and batch.upstream_slots >= limit:
        found.append(f"The upstream's limit of {limit} calls at once is used up, by all together.")
    if batch.batch_slots >= batch.max_concurrency:
        found.append(f"Its own limit of {batch.max_concurrency} calls at once is used up.")
    return found


def _hands(batch: Any) -> list[str]:
    """Whether anything of it is left for a further engine."""
    if batch.running_shards and not batch.waiting_shards:
        return [f"Engines hold all that is left: {_counted(batch.running_shards, 'shard')}."]
    return []


def _counted(count: int, what: str) -> str:
    plural = {"shard": "shards", "batch": "batches"}[what]
    return f"{count} {what if count == 1 else plural}"


def _company(batch: Any) -> tuple[int, int, list[Rival]]:
    """Batches and lines of the same owner that go before, and other owners, those who go first in front."""
    earlier = Q(priority__gt=batch.priority) | Q(expires_at__lt=batch.expires_at)
    ahead = earlier & ~Q(pk=batch.pk)
    held = Shard.objects.filter(
        batch=OuterRef("pk"), state=Shard.State.RUNNING, lease_expires_at__gte=Now()
    )
    running = Batch.objects.running(Now()).filter(
        upstream=batch.upstream_id, priority__gte=batch.priority
    )
    groups = running.annotate(held=_number(held, "batch", Sum("lines"))).values(
        "account_id", "external_user_id", "account__name", "external_user__external_id"
    )
    rows = groups.annotate(
        batches=Count("pk"),
        lines=Sum(OPEN_LINES),
        in_hand=Sum("held"),
        first=Count("pk", filter=Q(priority__gt=batch.priority)),
        batches_ahead=Count("pk", filter=ahead),
        lines_ahead=Sum(OPEN_LINES, filter=ahead, default=0),
    )
    own, rivals = (0, 0), []
    for row in rows.order_by():
        if (row["account_id"], row["external_user_id"]) == (
            batch.account_id,
            batch.external_user_id,
        ):
            own = row["batches_ahead"], row["lines_ahead"]
        else:
            rivals.append(_rival(row))
    shown = sorted(rivals, key=lambda rival: (not rival.first, -rival.in_hand))[:AHEAD_SHOWN]
    return *own, shown


def _rival(row: dict[str, Any]) -> Rival:
    return Rival(
        row["account__name"],
        row["external_user__external_id"],
        row["batches"],
        row["lines"],
        row["in_hand"],
        bool(row["first"]),
    )


def holders(batch: Batch, most: int) -> list[Holder]:
    """Who holds how much of a batch, those first that hold the most; then what waits, and what is done."""
    is_running = Q(state=Shard.State.RUNNING)
    of_engine: Any = {
        name: Case(When(is_running, then=F(f"owner__{name}"))) for name in ("host", "pid")
    } | {"lapses": Case(When(is_running, then=F("lease_expires_at")))}
    shards: Any = Shard.objects.filter(batch=batch)
    rows = (
        shards.annotate(**of_engine)
        .values("state", "host", "pid")
        .annotate(shards=Count("pk"), held=Sum("lines"), lapses_at=Min("lapses"))
        .order_by()
    )
    found = [
        Holder(
            Shard.State(row["state"]),
            "" if row["host"] is None else f"{row['host']} ({row['pid']})",
            row["shards"],
            row["held"],
            row["lapses_at"],
        )
        for row in rows
    ]
    order = [Shard.State.RUNNING, Shard.State.WAITING, Shard.State.DONE]
    found.sort(key=lambda one: (order.index(one.state), -one.shards))
    running = [one for one in found if one.state == Shard.State.RUNNING]
    return running[:most] + found[len(running) :]
