"""The supervisor's judgement. Its processes are in tests/e2e/test_supervisor.py."""

import pytest
from django.db import OperationalError
from django_q.models import Schedule

from batches import supervisor
from batches.models import Host
from batches.schedule import RECURRING, sync_schedules
from batches.supervisor import Rounds, StallClock, Verdict

FINE, RESTART, HOPELESS = Verdict.FINE, Verdict.RESTART, Verdict.HOPELESS


@pytest.mark.parametrize(
    ("story", "verdicts"),
    [
        ([(True, 0), (True, 59)], [FINE, FINE]),
        ([(True, 0), (True, 60)], [FINE, RESTART]),
        ([(True, 0), (False, 59), (True, 60), (True, 119)], [FINE, FINE, FINE, FINE]),
        (
            [(True, 0), (True, 60), (True, 65), (True, 124), (True, 125)],
            [FINE, RESTART, FINE, FINE, HOPELESS],
        ),
        (
            [(True, 0), (True, 60), (False, 61), (True, 62), (True, 122)],
            [FINE, RESTART, FINE, FINE, RESTART],
        ),
    ],
)
def test_a_stall_is_work_left_undone_without_a_break(
    story: list[tuple[bool, float]], verdicts: list[Verdict]
) -> None:
    stall = StallClock(60)
    assert [stall.observe(idle, now) for idle, now in story] == verdicts


def test_time_in_which_the_database_was_away_does_not_count() -> None:
    stall = StallClock(60)
    stall.observe(True, 0)
    stall.interrupt()
    assert stall.observe(True, 100) is FINE
    assert stall.observe(True, 160) is RESTART


@pytest.mark.django_db(transaction=True)  # a round closes connections that are in a transaction
def test_a_round_keeps_the_hosts_row_alive() -> None:
    rounds = Rounds(slots=3)
    rounds._round()
    first = Host.objects.get()
    rounds._round()
    second = Host.objects.get()
    assert second.slots == 3
    assert second.started_at == first.started_at
    assert second.lease_expires_at > first.lease_expires_at


@pytest.mark.django_db(transaction=True)  # a round closes connections that are in a transaction
def test_an_outage_is_reported_once_and_its_end_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> int:
        raise OperationalError("no connection")

    rounds = Rounds(slots=1)
    monkeypatch.setattr(supervisor, "sweep", refuse)
    rounds._round()
    rounds._round()
    monkeypatch.undo()
    rounds._round()
    rounds._round()
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "The database refused or did not answer: no connection",
        "The database answers again",
    ]


@pytest.mark.django_db
def test_schedules_are_what_the_code_says_however_often_they_are_synced() -> None:
    sync_schedules()
    before = list(Schedule.objects.order_by("id").values())
    sync_schedules()
    assert list(Schedule.objects.order_by("id").values()) == before
    wanted = {(task, f"batches.tasks.{task}", minutes) for task, minutes in RECURRING}
    assert {(row["name"], row["func"], row["minutes"]) for row in before} == wanted


@pytest.mark.django_db
def test_schedules_that_are_doubled_changed_or_out_of_use_are_put_right() -> None:
    sync_schedules()
    changed = Schedule.objects.get(name="sweep")
    changed.minutes = 999
    changed.save()
    Schedule.objects.create(name="purge", func="batches.tasks.purge", minutes=60)
    Schedule.objects.create(name="gone", func="batches.tasks.gone")
    Schedule.objects.create(name="theirs", func="other.task")
    sync_schedules()
    rows = Schedule.objects.order_by("name").values_list("name", "minutes")
    assert list(rows) == [("purge", 60), ("sweep", 1), ("theirs", None)]
