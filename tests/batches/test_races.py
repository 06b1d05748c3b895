"""Ends that race: of all that try, exactly one takes place, and the files are its own."""

from collections.abc import Callable

import pytest
from django.db import connection
from pytest_django import Settings

from batches import journal, lifecycle, results, validation
from batches.models import TERMINAL, Batch, Shard, Status
from batches.verification import verify
from files.models import File, Purpose
from tests.batches.factories import (
    answers,
    claimed,
    codes_of,
    make_upstream,
    overdue,
    request_lines,
    run,
    start,
    submit,
    unanswered,
)
from tests.factories import AccountFactory
from tests.support.threads import race

pytestmark = pytest.mark.django_db(transaction=True)


def rounds(count: int = 100) -> range:
    return range(count if connection.vendor == "postgresql" else count // 4)


@pytest.fixture(autouse=True)
def _small_shards(settings: Settings) -> None:
    settings.BATCH_SHARD_LINES = 1


def ended(batch: Batch, *allowed: Status) -> Status:
    """Let the sweep's call come too, and check that the batch has ended once, with the files of that end."""
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert verify(batch) == []
    ends = [to for to in batch.history.values_list("to_status", flat=True) if to in TERMINAL]
    assert ends == [batch.status]
    assert batch.status in allowed
    made = {batch.output_file_id, batch.error_file_id} - {None}
    found = File.objects.filter(purpose=Purpose.BATCH_OUTPUT, filename__startswith=batch.pk)
    assert set(found.values_list("pk", flat=True)) == made
    return Status(batch.status)


def last_line(batch: Batch) -> Callable[[], bool]:
    """Return what commits the last line of a batch, true unless it came too late; the others are done."""
    run(batch, most=batch.total - 1)
    shard = claimed(batch.shards.exclude(state=Shard.State.DONE).get())
    last = answers(unanswered(shard))

    def commit() -> bool:
        mine = journal.finish(shard, 1, last, advance=True)
        results.finalize(batch.pk)
        return mine

    return commit


def cancelling(batch: Batch) -> Callable[[], bool]:
    rival = Batch.objects.get(pk=batch.pk)

    def cancel() -> bool:
        try:
            lifecycle.cancel(rival, actor="test")
        except Batch.Conflict:
            return False
        results.finalize(batch.pk)
        return True

    return cancel


def finalizing(batch: Batch) -> Callable[[], None]:
    return lambda: results.finalize(batch.pk)


def test_cancel_against_the_last_line() -> None:
    account = AccountFactory()
    for _ in rounds():
        batch = start(account, 2)
        _, cancelled = race(last_line(batch), cancelling(batch))

        status = ended(batch, Status.COMPLETED, Status.CANCELLED)
        assert (status == Status.CANCELLED) == cancelled
        assert batch.completed == 2  # the line was answered in time either way


def test_cancel_against_finalise() -> None:
    account = AccountFactory()
    for number in rounds():
        batch = start(account, 1)
        shard = claimed(batch.shards.get())
        journal.finish(shard, 1, answers(unanswered(shard)), advance=bool(number % 2))
        cancelled, *_ = race(cancelling(batch), finalizing(batch), finalizing(batch))

        status = ended(batch, Status.COMPLETED, Status.CANCELLED)
        assert (status == Status.CANCELLED) == cancelled


def test_expiry_against_the_last_line() -> None:
    account = AccountFactory()
    for _ in rounds(50):
        batch = overdue(start(account, 2))
        commit = last_line(batch)
        Shard.objects.filter(batch=batch, state="running").update(lease_expires_at=batch.created_at)
        recorded, _ = race(commit, finalizing(batch))

        status = ended(batch, Status.COMPLETED, Status.EXPIRED)
        assert (batch.completed, batch.failed) == ((2, 0) if recorded else (1, 1))
        assert recorded or status == Status.EXPIRED


def test_expiry_against_cancel() -> None:
    account = AccountFactory()
    for _ in rounds(50):
        batch = overdue(start(account, 2))
        cancelled, _ = race(cancelling(batch), finalizing(batch))

        status = ended(batch, Status.CANCELLED, Status.EXPIRED)
        assert (status == Status.CANCELLED) == cancelled
        assert set(codes_of(batch.error_file_id)) <= {"batch_cancelled", "batch_expired"}


def test_finalisers_that_all_think_the_step_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batch, "claim_step", lambda *_: True)
    account = AccountFactory()
    for stop in (run, overdue, cancelled):
        for _ in rounds(20):
            batch = stop(start(account, 2))
            race(*(finalizing(batch) for _ in range(3)))
            ended(batch, Status.COMPLETED, Status.EXPIRED, Status.CANCELLED)


def cancelled(batch: Batch) -> Batch:
    assert cancelling(batch)()
    return batch


def test_validators_that_all_think_the_step_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batch, "claim_step", lambda *_: True)
    make_upstream()
    account = AccountFactory()
    for _ in rounds(20):
        batch = submit(account, request_lines(5))
        race(*(lambda batch=batch: validation.validate(batch.pk) for _ in range(3)))

        batch.refresh_from_db()
        assert (batch.status, batch.total) == (Status.IN_PROGRESS, 5)
        assert list(batch.shards.order_by("number").values_list("number", "first_line")) == [
            (number, number + 1) for number in range(5)
        ]
        assert batch.history.count() == 2


def test_cancels_at_once_are_one_cancel() -> None:
    account = AccountFactory()
    for _ in rounds(20):
        batch = start(account, 1)
        assert race(*(cancelling(batch) for _ in range(4))) == [True] * 4
        ended(batch, Status.CANCELLED)


def test_requeues_at_once_are_one_attempt() -> None:
    account = AccountFactory()
    for _ in rounds(20):
        batch = run(start(account, 2), failing=("1",))
        results.finalize(batch.pk)
        rivals = [Batch.objects.get(pk=batch.pk) for _ in range(3)]

        def requeue(rival: Batch) -> bool:
            try:
                lifecycle.requeue(rival, actor="test")
            except Batch.Conflict:
                return False
            return True

        won = race(*(lambda rival=rival: requeue(rival) for rival in rivals))
        batch.refresh_from_db()
        assert sorted(won) == [False, False, True]
        assert (batch.attempt, batch.status, batch.completed) == (2, Status.IN_PROGRESS, 1)
        assert verify(batch) == []


def test_shards_that_end_at_once_are_all_counted() -> None:
    """Counts that are read, raised and written back lose those of others."""
    account = AccountFactory()
    for _ in rounds(20):
        batch = start(account, 6)
        ends = []
        for shard in batch.shards.all():
            last = answers(unanswered(claimed(shard)), failing={"5"})
            ends.append(lambda shard=shard, last=last: journal.finish(shard, 1, last, advance=True))
        assert all(race(*ends))

        batch.refresh_from_db()
        assert (batch.completed, batch.failed) == (5, 1)
        ended(batch, Status.COMPLETED)
