"""The overview's numbers: right, from a handful of queries, and each warning when it is due."""

import datetime
from typing import Any

from accounts.models import Account, Owner
from api.clock import database_now
from batches import lifecycle, overview, traffic
from batches.models import Batch, BatchMinute, Status
from tests.batches.factories import (
    HOUR,
    make_engine,
    make_host,
    reach,
    request_lines,
    run,
    start,
    submit,
)
from tests.factories import AccountFactory

LATER = datetime.timedelta(minutes=5)


def test_work_is_counted_by_state_and_by_what_has_waited_longest(account: Account) -> None:
    first, second, paused = (start(account, 2) for _ in range(3))
    Batch.objects.filter(pk=first.pk).update(in_progress_at=database_now() - HOUR)
    Batch.objects.filter(pk=paused.pk).update(in_progress_at=database_now() - 2 * HOUR)
    lifecycle.pause(paused, actor="me")
    submit(account, request_lines(1))
    reach(submit(account, request_lines(1)), Status.COMPLETED)

    found = overview.work()

    assert found.batches == {
        Status.VALIDATING: 1,
        Status.IN_PROGRESS: 3,
        Status.FINALIZING: 0,
        Status.CANCELLING: 0,
    }
    assert (found.active, found.paused, found.running) == (4, 1, 2)
    assert found.oldest == (first.pk, Batch.objects.get(pk=first.pk).in_progress_at)
    assert second.pk != first.pk


def test_the_day_adds_up_what_is_rolled_up_and_what_is_not_yet(account: Account) -> None:
    run(start(account, 5), failing=("0",))
    traffic.roll_up(database_now() + LATER)
    BatchMinute.objects.update(minute=database_now() - 2 * HOUR)
    run(start(account, 3))

    found = overview.day(database_now())

    assert (found.completed, found.failed) == (7, 1)
    assert sum(point.completed for point in found.points) == 7
    assert len(found.points) == 145
    assert found.lines_a_second == 3 / 300
    assert found.median == 50
    assert [point.median for point in found.points if point.completed] != [None]


def test_who_is_busiest_is_told_with_their_failures(account: Account) -> None:
    user = account.external_users.create(external_id="u-1")
    run(start(Owner(account, user), 6), failing=("0", "1"))
    run(start(AccountFactory(name="small"), 2))
    traffic.roll_up(database_now() + LATER)

    found = overview.busiest(database_now())

    assert [(one.account, one.external_user, one.completed, one.failed) for one in found] == [
        (account.name, "u-1", 4, 2),
        ("small", None, 2, 0),
    ]


def test_running_batches_leave_out_those_that_are_paused(account: Account) -> None:
    running, paused = start(account, 2), start(account, 2)
    lifecycle.pause(paused, actor="me")

    assert overview.running(database_now()) == [running]


def test_hosts_come_before_engines_and_the_living_before_the_dead(db: None) -> None:
    make_host(id="dead", name="a", lease_expires_at=database_now() - HOUR)
    make_host(id="alive", name="b")
    make_engine()

    found, _ = overview.workers()

    assert [(one.kind, one.name, one.alive) for one in found] == [
        ("host", "b", True),
        ("host", "a", False),
        ("engine", "here", True),
    ]


def test_everything_takes_six_queries(account: Account, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(6):
        _, now = overview.workers()
        overview.work()
        overview.day(now)
        overview.running(now)
        overview.busiest(now)
        overview.upstreams()
