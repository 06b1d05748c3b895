"""Find work that is due and that nobody does, and ring for it. Reads rows only; safe at any time, on every host."""

import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Sum
from django.utils import timezone
from django_q.models import Failure

from api.clock import database_now
from batches import traffic
from batches.hints import Cluster, Task, ring, waiting, waiting_calls
from batches.models import Batch, Engine, Host, Shard, Status
from console.acts import unfinished

MOST_RINGS = 500  # in the queue at once; the next pass rings for the rest
BURIED_AFTER = datetime.timedelta(hours=1)
FAILURES_KEPT = datetime.timedelta(days=7)


def sweep() -> int:
    """Ring for every step and shard that is due and that nobody has; returns how many hints it rang.

    Mends leases that no clock can have given, rolls up the traffic, and forgets engines and hosts that have been dead for an hour.
    """
    now = database_now()
    _mend_leases(now)
    traffic.roll_up(now)
    rung = _ring_steps(now) + top_up()
    long_dead = Q(lease_expires_at__lt=now - BURIED_AFTER)
    # Whoever takes over the shards of an engine needs its name.
    for dead in (Engine.objects.filter(long_dead, shards=None), Host.objects.filter(long_dead)):
        if dead.exists():  # a delete takes SQLite's write lock even when there is nothing to delete
            dead.delete()
    return rung


def _mend_leases(now: datetime.datetime) -> None:
    """Let no lease last for longer than one given now: the clock has been set back since.

    Whoever lives renews it in time. Those of the dead would keep their lines from everybody for as long as the jump.
    """
    lease = max(Engine.lease(), Host.LEASE)
    # Other hosts may be set to somewhat longer leases.
    impossible, until = now + 4 * lease, now + lease
    held = Shard.objects.filter(state=Shard.State.RUNNING)
    for leased in (held, Engine.objects.all(), Host.objects.all()):
        wrong = leased.filter(lease_expires_at__gt=impossible)
        if wrong.exists():
            wrong.update(lease_expires_at=until)
    steps = Batch.objects.active().filter(step_lease_expires_at__gt=impossible)
    if steps.exists():
        steps.update(step_lease_expires_at=until)


def top_up() -> int:
    """Ring for as many turns as the hosts have room for and the shards need; returns how many.

    A turn too many ends in milliseconds, one too few is rung by the next pass.
    """
    now = database_now()
    slots = Host.objects.alive(now).aggregate(slots=Sum("slots"))["slots"] or 1
    free = slots - Engine.objects.alive(now).filter(stopping=False).count()
    if free <= 0:
        return 0
    # The engines there are do not count against the shards: they may be full, or dead within their lease.
    missing = max(0, claimable_shards(now, free) - waiting("engine"))
    if missing:
        with transaction.atomic():
            for _ in range(missing):
                ring("run_turn", cluster="engine")
    return missing


def forget_failures() -> None:
    """Delete what django-q2 keeps of failed tasks after a week; it never does so itself."""
    # Its rows bear the host's clock.
    Failure.objects.filter(stopped__lt=timezone.now() - FAILURES_KEPT).delete()


def idle_work(now: datetime.datetime) -> list[Cluster]:
    """Return the clusters that have work due and show no sign of doing any.

    control: a step is due, and no step of any batch has been held within the last STALL_SECONDS. A step that
    fails each time it is tried is thus no reason to restart, nor is a long queue of steps.
    engine: shards can be claimed, and no engine is alive.
    """
    idle: list[Cluster] = []
    recently = now - datetime.timedelta(seconds=settings.STALL_SECONDS)
    held = Batch.objects.active().filter(step_lease_expires_at__gt=recently)
    if any(batches.exists() for _, batches in _steps_due(now)) and not held.exists():
        idle.append("control")
    if claimable_shards(now, 1) and not Engine.objects.alive(now).exists():
        idle.append("engine")
    return idle


def claimable_shards(now: datetime.datetime, most: int) -> int:
    """Count shards an engine could claim now, up to `most`, in a time that does not depend on how many there are."""
    batches = Batch.objects.running(now).filter(upstream__paused_at=None)
    shards = Shard.objects.filter(batch__in=batches)
    # Lapsed and waiting ones apart, for each kind has an index of its own.
    lapsed = shards.filter(state=Shard.State.RUNNING, lease_expires_at__lt=now)[:most].count()
    if lapsed == most:
        return most
    return lapsed + shards.filter(state=Shard.State.WAITING)[: most - lapsed].count()


def _ring_steps(now: datetime.datetime) -> int:
    due: list[tuple[Task, str]] = [("carry_on_act", str(act_id)) for act_id in unfinished()]
    for task, batches in _steps_due(now):
        # Never tried ones first, then by how long ago the last try was given up.
        order = (F("step_lease_expires_at").asc(nulls_first=True), "created_at")
        ids = batches.order_by(*order).values_list("pk", flat=True)[:MOST_RINGS]
        due += [(task, batch_id) for batch_id in ids]
    if not due:
        return 0
    queued = waiting_calls("control", MOST_RINGS)
    missing = [(task, batch_id) for task, batch_id in due if (task, (batch_id,)) not in queued]
    missing = missing[: MOST_RINGS - len(queued)]
    with transaction.atomic():
        for task, batch_id in missing:
            ring(task, batch_id)
    return len(missing)


def _steps_due(now: datetime.datetime) -> list[tuple[Task, QuerySet[Batch]]]:
    """Return each task with the batches that need it and that nobody works on; no batch is in two."""
    idle = Batch.objects.unattended(now)
    in_time = idle.filter(expires_at__gt=now)
    undone = Shard.objects.filter(
        batch=OuterRef("pk"), state__in=(Shard.State.WAITING, Shard.State.RUNNING)
    )
    return [
        ("validate_batch", in_time.filter(status=Status.VALIDATING)),
        ("finalize_batch", idle.filter(status__in=(Status.FINALIZING, Status.CANCELLING))),
        ("finalize_batch", idle.overdue(now)),
        ("finalize_batch", in_time.filter(~Exists(undone), status=Status.IN_PROGRESS)),
    ]
