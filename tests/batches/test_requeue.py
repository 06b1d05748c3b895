"""Requeue: the lines without a good result run again, in a new attempt and a new window."""

from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import Account
from api.clock import database_now
from batches import journal, lifecycle, results, validation
from batches.hints import waiting, waiting_calls
from batches.lifecycle import Rerun
from batches.models import TERMINAL, Batch, Segment, Shard, Status
from batches.verification import verify
from files.models import File
from tests.batches.factories import (
    HOUR,
    LEASE,
    answers,
    claimed,
    codes_of,
    ids_of,
    make_upstream,
    overdue,
    reach,
    request_line,
    request_lines,
    run,
    start,
    submit,
    unanswered,
)


@pytest.fixture(autouse=True)
def _small_shards(settings: Settings) -> None:
    settings.BATCH_SHARD_LINES = 2


def end(batch: Batch) -> Batch:
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert batch.status in TERMINAL
    assert verify(batch) == []
    return batch


def requeue(batch: Batch, **which: Any) -> Batch:
    lifecycle.requeue(batch, actor="me", reason="why", rerun=Rerun(**which))
    batch.refresh_from_db()
    assert verify(batch) == []
    return batch


def open_shards(batch: Batch) -> list[int]:
    shards = batch.shards.filter(state=Shard.State.WAITING).order_by("number")
    return list(shards.values_list("number", flat=True))


def test_a_completed_batch_runs_its_failures_again(account: Account) -> None:
    batch = end(run(start(account, 6), failing=("1", "4")))
    first_output = batch.output_file_id
    requeue(batch)

    assert (batch.status, batch.attempt, batch.total) == (Status.IN_PROGRESS, 2, 6)
    assert (batch.completed, batch.failed) == (4, 0)
    assert (batch.output_file_id, batch.error_file_id) == (None, None)
    assert (batch.completed_at, batch.finalizing_at) == (None, None)
    assert batch.held_file_id == batch.input_file_id
    assert open_shards(batch) == [0, 2]

    end(run(batch, failing=("4",)))
    assert (batch.completed, batch.failed) == (5, 1)
    assert ids_of(batch.output_file_id) == ["0", "1", "2", "3", "5"]
    assert ids_of(batch.error_file_id) == ["4"]
    assert ids_of(first_output) == ["0", "2", "3", "5"]  # stays with its owner


@pytest.mark.parametrize("stop", ["cancel", "expire"])
def test_a_batch_cut_short_runs_what_is_left(account: Account, stop: str) -> None:
    batch = run(start(account, 5), failing=("1",), most=1)
    getattr(lifecycle, stop)(batch, actor="me")
    end(batch)
    assert (batch.completed, batch.failed) == (1, 4)
    requeue(batch)

    assert (batch.completed, batch.failed, batch.closed_by) == (1, 0, "")
    assert (batch.cancelled_at, batch.cancelling_at, batch.expired_at) == (None, None, None)
    assert batch.expires_at > database_now() + 23 * HOUR
    end(run(batch))
    assert (batch.status, batch.completed, batch.failed) == (Status.COMPLETED, 5, 0)
    assert ids_of(batch.output_file_id) == [str(number) for number in range(5)]


def test_usage_counts_every_good_line_once(account: Account) -> None:
    batch = end(run(start(account, 4), failing=("3",)))
    assert batch.input_tokens == 6
    requeue(batch)
    assert batch.input_tokens == 6
    assert end(run(batch)).input_tokens == 8


def test_all_lines_run_again_when_asked(account: Account) -> None:
    batch = end(run(start(account, 3), failing=("1",)))
    first_output = batch.output_file_id
    requeue(batch, everything=True)

    assert (batch.completed, batch.failed, batch.input_tokens) == (0, 0, 0)
    assert open_shards(batch) == [0, 1]
    end(run(batch, failing=("2",)))
    assert ids_of(batch.output_file_id) == ["0", "1"]
    assert ids_of(batch.error_file_id) == ["2"]
    assert ids_of(first_output) == ["0", "2"]


def test_a_batch_without_failures_runs_again_only_whole(account: Account) -> None:
    batch = end(run(start(account, 3)))
    with pytest.raises(Batch.Conflict):
        requeue(batch)
    assert (batch.status, batch.attempt) == (Status.COMPLETED, 1)

    end(run(requeue(batch, everything=True)))
    assert (batch.completed, batch.attempt) == (3, 2)


def test_many_attempts_add_up_to_one_result(account: Account) -> None:
    failing = ["0", "2", "3", "5"]
    batch = end(run(start(account, 6), failing=failing))
    for attempt in range(2, 6):
        failing.pop()
        end(run(requeue(batch), failing=failing))
        assert (batch.attempt, batch.failed) == (attempt, len(failing))
    assert batch.completed == 6


def test_a_requeued_batch_can_be_cut_short_and_requeued(account: Account) -> None:
    batch = requeue(end(run(start(account, 6), failing=("0", "4"))))
    run(batch, most=1)
    lifecycle.cancel(batch, actor="me")
    end(batch)
    assert (batch.completed, batch.failed) == (5, 1)
    assert end(run(requeue(batch))).completed == 6


def test_a_batch_that_never_started_validates_again(account: Account) -> None:
    batch = submit(account, request_line(body='{"model": "new", "messages": []}'))
    validation.validate(batch.pk)  # nobody serves it yet
    batch.refresh_from_db()
    assert batch.status == Status.FAILED
    make_upstream(served_models=["new"])

    requeue(batch)
    assert (batch.status, batch.attempt, batch.errors) == (Status.VALIDATING, 2, None)
    assert batch.failed_at is None
    assert ("validate_batch", (batch.pk,)) in waiting_calls("control", 10)
    validation.validate(batch.pk)
    batch.refresh_from_db()
    end(run(batch))
    assert (batch.status, batch.completed) == (Status.COMPLETED, 1)


@pytest.mark.parametrize("stop", [Status.CANCELLED, Status.EXPIRED])
def test_a_batch_stopped_while_validating_validates_again(account: Account, stop: Status) -> None:
    batch = submit(account, request_lines(2))
    lifecycle.cancel(batch, actor="me") if stop == Status.CANCELLED else overdue(batch)
    assert end(batch).status == stop
    assert requeue(batch).status == Status.VALIDATING


@pytest.mark.parametrize("status", sorted(set(Status) - TERMINAL))
def test_a_batch_that_runs_is_not_requeued(account: Account, status: Status) -> None:
    batch = reach(submit(account, request_lines(1)), status)
    with pytest.raises(Batch.Conflict) as conflict:
        requeue(batch)
    assert conflict.value.status == status
    assert batch.attempt == 1


def test_a_stale_requeue_is_refused(account: Account) -> None:
    batch = end(run(start(account, 2), failing=("0",)))
    stale = Batch.objects.get()
    requeue(batch)
    before = list(Shard.objects.values()), Batch.objects.values().get()

    with pytest.raises(Batch.Conflict):
        lifecycle.requeue(stale, actor="me")
    assert (list(Shard.objects.values()), Batch.objects.values().get()) == before


@pytest.mark.parametrize("gone", ["deleted", "expired"])
def test_a_batch_whose_input_is_gone_stays_as_it_is(account: Account, gone: str) -> None:
    batch = end(run(start(account, 2), failing=("0",)))
    file = File.objects.get(pk=batch.input_file_id)
    if gone == "deleted":
        file.delete()
    else:
        File.objects.filter(pk=file.pk).update(expires_at=database_now())
    before = Batch.objects.values().get()

    with pytest.raises(lifecycle.InputGone, match="its input file is gone"):
        requeue(batch)
    assert Batch.objects.values().get() == before
    assert open_shards(batch) == []


def test_engines_are_called_and_the_history_says_who_and_why(account: Account) -> None:
    batch = end(run(start(account, 2), failing=("0",)))
    requeue(batch)

    assert waiting("engine") == 1
    last = batch.history.latest("id")
    assert (last.from_status, last.to_status, last.attempt) == ("completed", "in_progress", 2)
    assert (last.actor, last.reason) == ("me", "why")


# Some of the failed lines


def mixed(account: Account) -> Batch:
    """Six lines in three shards: 0 is good, 1 and 2 fail with 400, 3, 4 and 5 are cut off by a cancel."""
    batch = run(start(account, 6), failing=("1",), most=1)
    shard = claimed(batch.shards.get(number=1))
    assert journal.record(shard, 1, answers(unanswered(shard)[:1], failing=("2",)), LEASE)
    Shard.objects.filter(pk=shard.pk).update(state=Shard.State.WAITING, lease_expires_at=None)
    lifecycle.cancel(batch, actor="me")
    end(batch)
    assert (batch.completed, batch.failed) == (1, 5)
    return batch


def test_only_the_lines_of_a_cause_run_again(account: Account) -> None:
    batch = requeue(mixed(account), causes=frozenset({"batch_cancelled"}))

    assert (batch.completed, batch.failed) == (1, 2)
    assert open_shards(batch) == [1, 2]
    end(run(batch))
    assert ids_of(batch.output_file_id) == ["0", "3", "4", "5"]
    assert ids_of(batch.error_file_id) == ["1", "2"]


def test_a_cause_can_be_run_again_after_another(account: Account) -> None:
    batch = end(run(requeue(mixed(account), causes=frozenset({"batch_cancelled"}))))

    end(run(requeue(batch, causes=frozenset({"http_400"}))))

    assert ids_of(batch.output_file_id) == [str(number) for number in range(6)]
    assert batch.error_file_id is None


def test_only_chosen_lines_run_again(account: Account) -> None:
    batch = requeue(mixed(account), lines={0: [0, 1], 2: [1]})  # line 0 did not fail

    assert (batch.completed, batch.failed) == (1, 3)
    assert open_shards(batch) == [0, 2]
    end(run(batch, failing=("5",)))
    assert ids_of(batch.output_file_id) == ["0", "1"]
    assert ids_of(batch.error_file_id) == ["2", "3", "4", "5"]


def test_a_choice_that_holds_no_failed_line_is_refused_and_changes_nothing(
    account: Account,
) -> None:
    batch = mixed(account)
    for which in ({"causes": frozenset({"http_500"})}, {"lines": {0: [0]}}, {"lines": {}}):
        with pytest.raises(Batch.Conflict, match="it has no such lines"):
            lifecycle.requeue(batch, actor="me", rerun=Rerun(**which))

    batch.refresh_from_db()
    assert (batch.status, batch.attempt, open_shards(batch)) == (Status.CANCELLED, 1, [])
    assert not Segment.objects.exclude(rerun=None).exists()


def test_a_partial_requeue_that_is_cut_short_keeps_the_other_failures(account: Account) -> None:
    batch = requeue(mixed(account), causes=frozenset({"batch_cancelled"}))
    lifecycle.cancel(batch, actor="me")
    end(batch)

    assert (batch.completed, batch.failed) == (1, 5)
    assert sorted(codes_of(batch.error_file_id)) == ["", "", *["batch_cancelled"] * 3]


def test_a_crash_in_a_partial_requeue_repeats_nothing_that_was_recorded(account: Account) -> None:
    batch = requeue(mixed(account), causes=frozenset({"batch_cancelled"}))
    shard = claimed(batch.shards.get(number=2))
    assert journal.record(shard, 2, answers(unanswered(shard)[:1]), LEASE)

    again = claimed(Shard.objects.get(pk=lapsed(shard).pk))

    assert [request.index for request in unanswered(again)] == [1]


def lapsed(shard: Shard) -> Shard:
    Shard.objects.filter(pk=shard.pk).update(lease_expires_at=database_now() - HOUR)
    return shard


def test_segments_say_of_what_their_lines_failed(account: Account) -> None:
    batch = mixed(account)

    causes = list(batch.shards.order_by("number").values_list("segments__causes", flat=True))

    assert causes == [
        {"http_400": 1},
        {"http_400": 1, "batch_cancelled": 1},
        {"batch_cancelled": 2},
    ]
    Segment.objects.update(causes=None)  # as an earlier version wrote them
    requeue(batch, causes=frozenset({"http_400"}))
    assert (batch.failed, open_shards(batch)) == (3, [0, 1])
