"""Why a batch is not moving, and who is ahead of it, in plain words. Reads rows only; what engines know alone is not told."""

import dataclasses
import datetime

from django.db.models import Count, F, Q, Sum

from api.clock import database_now
from batches.candidates import lines_in_hand
from batches.models import TERMINAL, Batch, Engine, Host, Shard, Share, Status

AHEAD_SHOWN = 8
NO_WORKER = "No worker is running, so nothing moves. Start one: manage.py runworker."


@dataclasses.dataclass(frozen=True, slots=True)
class Rival:
    """An owner with lines for the same upstream: by turns with this batch, unless `first`."""

    account: str
    external_user: str | None
    batches: int
    open_lines: int
    in_hand: int  # lines that engines hold
    first: bool  # all of its lines go before: it has the higher priority


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """What holds a batch up, the weightiest reason first; and who shares its upstream."""

    reasons: list[str]
    own_batches_ahead: int = 0
    own_lines_ahead: int = 0
    rivals: list[Rival] = dataclasses.field(default_factory=list)


def explain(batch: Batch) -> Standing:
    """Where a batch stands at this moment."""
    now = database_now()
    if batch.status in TERMINAL:
        return Standing([f"It has ended: {batch.status}."])
    if batch.status == Status.IN_PROGRESS:
        return _in_progress(batch, now)
    return Standing(_in_a_step(batch, now))


STEPS = {
    Status.VALIDATING: "its input file to be checked",
    Status.FINALIZING: "its result files to be put together",
    Status.CANCELLING: "its cancellation to be finished",
}


def _in_a_step(batch: Batch, now: datetime.datetime) -> list[str]:
    step = STEPS[Status(batch.status)]
    if batch.step_lease_expires_at is not None and batch.step_lease_expires_at > now:
        return [f"A worker is at it: it waits for {step}."]
    if not Host.objects.alive(now).exists():
        return [NO_WORKER]
    held = Shard.objects.filter(batch=batch, state=Shard.State.RUNNING).count()
    if held:
        return [f"It waits for the calls in flight of {held} shards to end."]
    before = Batch.objects.filter(status=batch.status, created_at__lt=batch.created_at).count()
    turn = f"{before} batches came before it" if before else "it is the next"
    return [f"It waits for {step}; {turn}."]


def _in_progress(batch: Batch, now: datetime.datetime) -> Standing:
    reasons = [*_stops(batch, now), *_limits(batch, now), *_hands(batch)]
    own = Batch.objects.owned_by(batch.owner).running(now).exclude(pk=batch.pk)
    ahead = own.filter(upstream=batch.upstream_id).filter(
        Q(priority__gt=batch.priority) | Q(priority=batch.priority, expires_at__lt=batch.expires_at)
    )
    sums = ahead.aggregate(batches=Count("pk"), lines=Sum(OPEN_LINES, default=0))
    return Standing(
        reasons or ["Nothing holds it up: its lines are being called."],
        sums["batches"],
        sums["lines"],
        _rivals(batch, now),
    )


OPEN_LINES = F("total") - F("completed") - F("failed")


def _stops(batch: Batch, now: datetime.datetime) -> list[str]:
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
    if not Host.objects.alive(now).exists():
        found.append(NO_WORKER)
    return found


def _because(reason: str) -> str:
    return f": {reason}" if reason else "."


def _limits(batch: Batch, now: datetime.datetime) -> list[str]:
    """Limits that are used up."""
    alive = Share.objects.filter(engine__in=Engine.objects.alive(now).values("pk"))
    slots = alive.filter(Q(batch=batch) | Q(upstream=batch.upstream_id)).aggregate(
        batch=Sum("slots", filter=Q(batch=batch), default=0),
        upstream=Sum("slots", filter=Q(upstream__isnull=False), default=0),
    )
    found = []
    limit = batch.upstream.limit if batch.upstream else None
    if limit is not None and slots["upstream"] >= limit:
        found.append(f"The upstream's limit of {limit} calls at once is used up, by all together.")
    if slots["batch"] >= batch.max_concurrency:
        found.append(f"Its own limit of {batch.max_concurrency} calls at once is used up.")
    return found


def _hands(batch: Batch) -> list[str]:
    """Whether anything of it is left for a further engine."""
    shards = batch.shards.exclude(state=Shard.State.DONE)
    states = dict(shards.values_list("state").annotate(Count("pk")).order_by())
    if states and Shard.State.WAITING not in states:
        return [f"Engines hold all that is left: {states[Shard.State.RUNNING]} shards."]
    return []


def _rivals(batch: Batch, now: datetime.datetime) -> list[Rival]:
    """Other owners with lines for the same upstream, those who go first in front, then by lines in hand."""
    others = (
        Batch.objects.running(now)
        .filter(upstream=batch.upstream_id, priority__gte=batch.priority)
        .exclude(account=batch.account_id, external_user=batch.external_user_id)
    )
    groups = others.values(
        "account_id", "external_user_id", "account__name", "external_user__external_id"
    )
    rows = groups.annotate(
        batches=Count("pk"),
        lines=Sum(OPEN_LINES),
        first=Count("pk", filter=Q(priority__gt=batch.priority)),
    )
    hands = lines_in_hand(now)
    rivals = [
        Rival(
            row["account__name"],
            row["external_user__external_id"],
            row["batches"],
            row["lines"],
            hands.get((row["account_id"], row["external_user_id"]), 0),
            bool(row["first"]),
        )
        for row in rows
    ]
    return sorted(rivals, key=lambda rival: (not rival.first, -rival.in_hand))[:AHEAD_SHOWN]
