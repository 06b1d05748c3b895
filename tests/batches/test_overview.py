"""The overview's numbers: right, from a handful of queries, and each warning when it is due."""

import datetime
from typing import Any

import pytest

from accounts.models import Account, Owner
from api.clock import database_now
from batches import lifecycle, overview, traffic
from batches.models import Batch, BatchMinute, Host, Status, Upstream
from tests.batches.factories import (
    HOUR,
    make_engine,
    make_upstream,
    reach,
    request_lines,
    run,
    start,
    submit,
)
from tests.factories import AccountFactory

LATER = datetime.timedelta(minutes=5)


def make_host(**fields: Any) -> Host:
    now = database_now()
    given = {"name": "here", "pid": 7, "version": "0.1.0", "slots": 2, "started_at": now}
    return Host.objects.create(**{"id": "h", "lease_expires_at": now + HOUR} | given | fields)


def test_work_is_counted_by_state_and_by_what_has_waited_longest(account: Account) -> None:
    first, second, paused = (start(account, 2) for _ in range(3))
    Batch.objects.filter(pk=first.pk).update(in_progress_at=database_now() - HOUR)
    Batch.objects.filter(pk=paused.pk).update(in_progress_at=database_now() - 2 * HOUR)
    lifecycle.pause(paused, actor="me")
    submit(account, request_lines(1))
    reach(submit(account, request_lines(1)), Status.COMPLETED)

    found = overview.work(database_now())

    assert found.batches == {
        Status.VALIDATING: 1,
        Status.IN_PROGRESS: 3,
        Status.FINALIZING: 0,
        Status.CANCELLING: 0,
    }
    assert (found.active, found.paused) == (4, 1)
    assert found.oldest == Batch.objects.get(pk=first.pk).in_progress_at
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

    assert overview.running() == [running]


def test_hosts_come_before_engines_and_the_living_before_the_dead(db: None) -> None:
    make_host(id="dead", name="a", lease_expires_at=database_now() - HOUR)
    make_host(id="alive", name="b")
    make_engine()

    found = overview.workers(database_now())

    assert [(one.kind, one.name, one.alive) for one in found] == [
        ("host", "b", True),
        ("host", "a", False),
        ("engine", "here", True),
    ]


def test_everything_takes_six_queries(account: Account, django_assert_num_queries: Any) -> None:
    now = database_now()
    with django_assert_num_queries(6):
        overview.work(now)
        overview.day(now)
        overview.running()
        overview.busiest(now)
        overview.upstreams()
        overview.workers(now)


def warnings() -> list[str]:
    now = database_now()
    found = overview.warnings(overview.work(now), overview.upstreams(), overview.workers(now))
    return [warning.text for warning in found]


def test_a_healthy_service_has_no_warnings(account: Account) -> None:
    make_upstream()
    make_host()

    assert warnings() == []


def test_nobody_working_is_told_with_what_waits(account: Account) -> None:
    start(account, 2)

    assert warnings() == ["No worker is running; 1 batches wait. Start one: manage.py runworker"]


def test_a_worker_that_fell_silent_is_named(db: None) -> None:
    make_upstream()
    make_host()
    make_host(id="dead", name="gone", lease_expires_at=database_now() - HOUR)

    (text,) = warnings()
    assert text.startswith("The worker gone (7) has not been heard of since ")


def test_different_versions_are_told(db: None) -> None:
    make_upstream()
    make_host(version="0.0.9")

    assert warnings() == ["Web server and workers run different versions: 0.0.9, 0.1.0."]


def test_trouble_of_upstreams_is_told(db: None) -> None:
    make_host()
    assert warnings() == ["There is no upstream, so no batch can run. Add one."]

    paused, down = make_upstream(name="one"), make_upstream(name="two")
    paused.pause("The key is refused.")
    Upstream.note_down(down.pk, "HTTP 502")
    first, second = warnings()
    assert first == "The upstream one is paused: The key is refused."
    assert second.startswith("The upstream two answers nobody since ")
    assert second.endswith(": HTTP 502")


def test_a_disk_that_is_nearly_full_is_told(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    make_upstream()
    make_host()
    monkeypatch.setattr(overview, "DISK_FULL", 0.0)

    found = warnings()
    assert all(text.startswith("The disk of the ") for text in found)
    assert "storage" in " ".join(found)
    assert "data directory" in " ".join(found)
