import datetime
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone
from django_q.models import Failure, OrmQ

from accounts.models import Account
from api.clock import database_now
from batches.hints import ring, waiting, waiting_calls
from batches.models import Batch, Engine, Host, Shard, Status, Upstream
from batches.sweep import (
    MOST_RINGS,
    claimable_shards,
    forget_failures,
    idle_work,
    sweep,
    top_up,
)

pytestmark = pytest.mark.django_db
HOUR = datetime.timedelta(hours=1)
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
MakeBatch = Callable[..., Batch]


@pytest.fixture
def make_batch() -> MakeBatch:
    account = Account.objects.create(name="test")
    upstream = Upstream.objects.create(name="test", base_url="http://127.0.0.1:9/v1")

    def make(status: Status, shards: tuple[str, ...] = (), **fields: Any) -> Batch:
        now = database_now()
        batch = Batch.objects.create(
            **{
                "account": account,
                "created_by": "test",
                "input_file_id": "file-none",
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
                "max_concurrency": 10,
                "upstream": upstream,
                "status": status,
                "expires_at": now + HOUR,
            }
            | fields
        )
        leases = {"running": now + HOUR, "lapsed": now - HOUR}
        Shard.objects.bulk_create(
            Shard(
                batch=batch,
                number=number,
                first_line=number + 1,
                lines=1,
                start=number,
                end=number + 1,
                state="running" if state == "lapsed" else state,
                lease_expires_at=leases.get(state),
            )
            for number, state in enumerate(shards)
        )
        return batch

    return make


def make_host(slots: int, lease: datetime.timedelta = HOUR) -> None:
    now = database_now()
    Host.objects.create(
        id=f"host-{slots}",
        name="host",
        pid=1,
        version="1",
        slots=slots,
        started_at=now,
        lease_expires_at=now + lease,
    )


def make_engine(lease: datetime.timedelta = HOUR, *, stopping: bool = False) -> Engine:
    now = database_now()
    return Engine.objects.create(
        id=f"engine-{Engine.objects.count()}",
        host="host",
        pid=1,
        started_at=now,
        lease_expires_at=now + lease,
        stopping=stopping,
    )


@pytest.mark.parametrize(
    ("status", "fields", "task"),
    [
        (Status.VALIDATING, {}, "validate_batch"),
        (Status.VALIDATING, {"expires_at": LONG_AGO}, "finalize_batch"),
        (Status.IN_PROGRESS, {"shards": ("done", "done")}, "finalize_batch"),
        (
            Status.IN_PROGRESS,
            {"shards": ("waiting", "done"), "expires_at": LONG_AGO},
            "finalize_batch",
        ),
        (Status.FINALIZING, {"shards": ("done",)}, "finalize_batch"),
        (Status.FINALIZING, {"expires_at": LONG_AGO}, "finalize_batch"),
        (Status.CANCELLING, {"shards": ("running",)}, "finalize_batch"),
        (Status.IN_PROGRESS, {"shards": ("running", "done")}, None),
        (Status.COMPLETED, {"expires_at": LONG_AGO}, None),
        (Status.FAILED, {}, None),
        (Status.EXPIRED, {"shards": ("waiting",)}, None),
        (Status.CANCELLED, {}, None),
    ],
)
@pytest.mark.parametrize("attended", [False, True])
def test_a_due_step_that_nobody_has_is_rung_for_once(
    make_batch: MakeBatch,
    status: Status,
    fields: dict[str, Any],
    task: str | None,
    attended: bool,
) -> None:
    lease = database_now() + (HOUR if attended else -HOUR)
    batch = make_batch(status, **fields, step_lease_expires_at=lease)
    sweep()
    sweep()
    expected = set() if attended or task is None else {(task, (batch.pk,))}
    assert waiting_calls("control", 10) == expected
    assert waiting("control") == len(expected)


def test_a_hint_somebody_took_is_rung_again(make_batch: MakeBatch) -> None:
    make_batch(Status.VALIDATING)
    sweep()
    OrmQ.objects.update(lock=timezone.now() + HOUR)
    assert sweep() == 1


def test_steps_never_flood_the_queue(make_batch: MakeBatch) -> None:
    batch = make_batch(Status.VALIDATING)
    values = {field.attname: getattr(batch, field.attname) for field in Batch._meta.concrete_fields}
    Batch.objects.bulk_create(
        Batch(**values | {"id": f"batch_{number}"}) for number in range(MOST_RINGS + 5)
    )
    sweep()
    sweep()
    assert waiting("control") == MOST_RINGS
    OrmQ.objects.all().delete()
    assert sweep() == MOST_RINGS


@pytest.mark.parametrize(
    ("slots", "shards", "engines", "queued", "rung"),
    [
        ((), ("waiting",) * 3, 0, 0, 1),  # no host is known yet
        ((4,), ("waiting",) * 3, 0, 0, 3),
        ((1, 2), ("waiting",) * 9, 0, 0, 3),
        ((4,), ("waiting", "lapsed", "running", "done"), 0, 0, 2),
        ((4,), ("lapsed",) * 5, 0, 0, 4),
        ((4,), ("waiting",) * 9, 1, 1, 2),
        ((2,), ("waiting",) * 9, 1, 1, 0),
        ((2,), ("waiting",) * 9, 2, 3, 0),
        ((2,), ("running", "done"), 0, 0, 0),
        ((2,), ("waiting",), 1, 0, 1),  # an engine that has not taken it may be full
    ],
)
def test_as_many_turns_are_rung_as_there_is_room_and_need_for(
    make_batch: MakeBatch,
    slots: tuple[int, ...],
    shards: tuple[str, ...],
    engines: int,
    queued: int,
    rung: int,
) -> None:
    make_batch(Status.IN_PROGRESS, shards=shards)
    for number in slots:
        make_host(number)
    for _ in range(engines):
        make_engine()
    for _ in range(queued):
        ring("run_turn", cluster="engine")
    assert top_up() == rung
    assert waiting("engine") == queued + rung


def test_dead_and_stopping_engines_and_dead_hosts_do_not_count(make_batch: MakeBatch) -> None:
    make_batch(Status.IN_PROGRESS, shards=("waiting",) * 9)
    make_host(2)
    make_host(5, lease=-HOUR)
    make_engine(lease=-HOUR)
    make_engine(stopping=True)
    assert top_up() == 2


def test_shards_nobody_may_send_are_not_claimable(make_batch: MakeBatch) -> None:
    now = database_now()
    paused = Upstream.objects.create(name="paused", base_url="http://127.0.0.1:9/v1", paused_at=now)
    make_batch(Status.IN_PROGRESS, shards=("waiting",), upstream=paused)
    make_batch(Status.IN_PROGRESS, shards=("waiting",), expires_at=now - HOUR)
    make_batch(Status.CANCELLING, shards=("waiting", "lapsed"))
    assert claimable_shards(now, 10) == 0
    make_batch(Status.IN_PROGRESS, shards=("waiting", "lapsed"))
    assert claimable_shards(now, 10) == 2
    assert claimable_shards(now, 1) == 1


def test_the_long_dead_are_forgotten_unless_they_have_shards(make_batch: MakeBatch) -> None:
    """Whoever takes over their shards asks what they had answers for."""
    batch = make_batch(Status.IN_PROGRESS, shards=("lapsed",))
    make_engine(lease=-2 * HOUR)
    holding, late = make_engine(lease=-2 * HOUR), make_engine(lease=-HOUR / 2)
    batch.shards.update(owner=holding)
    make_host(1, lease=-2 * HOUR)
    make_host(2)
    sweep()
    assert set(Engine.objects.all()) == {holding, late}
    assert [host.slots for host in Host.objects.all()] == [2]
    assert claimable_shards(database_now(), 10) == 1


def test_work_is_idle_when_it_is_due_and_nobody_does_any(make_batch: MakeBatch) -> None:
    now = database_now()
    assert idle_work(now) == []
    make_batch(Status.IN_PROGRESS, shards=("waiting",))
    assert idle_work(now) == ["engine"]
    make_batch(Status.VALIDATING)
    assert idle_work(now) == ["control", "engine"]
    make_engine()
    assert idle_work(now) == ["control"]


@pytest.mark.parametrize("ago", [-60, 10])
def test_steps_wait_in_line_while_another_is_tried(make_batch: MakeBatch, ago: int) -> None:
    now = database_now()
    make_batch(Status.VALIDATING)
    held = now - datetime.timedelta(seconds=ago)
    make_batch(Status.FINALIZING, step_lease_expires_at=held)
    assert idle_work(now) == []
    assert idle_work(now + HOUR) == ["control"]


def test_failures_of_tasks_are_forgotten_after_a_week() -> None:
    now = timezone.now()
    for days in (6, 8):
        stopped = now - datetime.timedelta(days=days)
        row = {"id": str(days), "name": "n", "func": "f", "success": False}
        Failure.objects.create(started=stopped, stopped=stopped, **row)

    forget_failures()

    assert [failure.id for failure in Failure.objects.all()] == ["6"]


def test_leases_from_before_the_clock_was_set_back_last_no_longer_than_new_ones(
    make_batch: MakeBatch,
) -> None:
    now = database_now()
    tomorrow = now + datetime.timedelta(days=1)
    rows = {"host": "h", "pid": 1, "started_at": now, "lease_expires_at": tomorrow}
    engine = Engine.objects.create(id="e", **rows)
    host = Host.objects.create(id="h", name=rows.pop("host"), slots=1, **rows)
    batch = make_batch(Status.IN_PROGRESS, ("running",), step_lease_expires_at=tomorrow)
    batch.shards.update(lease_expires_at=tomorrow)
    sweep()
    leases = [
        *Engine.objects.filter(pk=engine.pk).values_list("lease_expires_at", flat=True),
        *Host.objects.filter(pk=host.pk).values_list("lease_expires_at", flat=True),
        *batch.shards.values_list("lease_expires_at", flat=True),
        Batch.objects.get().step_lease_expires_at,
    ]
    assert len(leases) == 4
    # Not at once: whoever lives has the time to renew it.
    assert all(now < lease < now + datetime.timedelta(minutes=1) for lease in leases if lease)
    assert None not in leases


def test_a_lease_that_can_have_been_given_stays(make_batch: MakeBatch) -> None:
    batch = make_batch(Status.IN_PROGRESS, ("running",))
    lease = database_now() + datetime.timedelta(seconds=settings.BATCH_LEASE_SECONDS)
    batch.shards.update(lease_expires_at=lease)
    sweep()
    assert batch.shards.get().lease_expires_at == lease
