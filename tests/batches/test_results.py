"""The end of a batch: which one it is, what is in its files, and that nothing is copied for them."""

import datetime
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import Account
from api.clock import database_now
from batches import journal, lifecycle, results, validation
from batches.models import Batch, Segment, Shard, Status
from batches.verification import verify
from files.models import Blob, File, FilePart, Purpose
from files.storage import storage
from tests.batches.factories import (
    LEASE,
    answers,
    claimed,
    codes_of,
    ids_of,
    make_engine,
    make_upstream,
    overdue,
    request_lines,
    run,
    start,
    submit,
    unanswered,
)


@pytest.fixture(autouse=True)
def _small_shards(settings: Settings) -> None:
    settings.BATCH_SHARD_LINES = 2


def finalize(batch: Batch) -> Batch:
    results.finalize(batch.pk)
    batch.refresh_from_db()
    return batch


def ended(batch: Batch, status: Status, counts: tuple[int, int, int]) -> None:
    """Check that a batch has come to this end, with these lines completed and failed of all."""
    assert batch.status == status
    assert (batch.completed, batch.failed, batch.total) == counts
    assert verify(batch) == []


def record_one(batch: Batch, number: int = 0) -> Shard:
    """Record the first line of a shard, and keep the shard."""
    shard = claimed(batch.shards.get(number=number))
    assert journal.record(shard, 1, answers(unanswered(shard)[:1]), LEASE)
    return shard


def lapse() -> None:
    ago = database_now() - datetime.timedelta(seconds=1)
    Shard.objects.filter(state=Shard.State.RUNNING).update(lease_expires_at=ago)


# Completed


def test_a_batch_whose_lines_are_done_completes(account: Account) -> None:
    batch = finalize(run(start(account, 5), failing=("1", "4")))

    ended(batch, Status.COMPLETED, (3, 2, 5))
    assert ids_of(batch.output_file_id) == ["0", "2", "3"]
    assert ids_of(batch.error_file_id) == ["1", "4"]
    assert (batch.input_tokens, batch.cached_tokens) == (6, 3)
    assert (batch.output_tokens, batch.reasoning_tokens) == (9, 3)
    assert batch.history.latest("id").actor == "finalizer"


def test_a_file_that_would_be_empty_is_not_made(account: Account) -> None:
    good = finalize(run(start(account, 2)))
    bad = finalize(run(start(account, 2), failing=("0", "1")))

    ended(good, Status.COMPLETED, (2, 0, 2))
    ended(bad, Status.COMPLETED, (0, 2, 2))
    assert good.error_file_id is None
    assert bad.output_file_id is None


def test_result_files_belong_to_the_owner_for_as_long_as_asked(
    account: Account, settings: Settings
) -> None:
    settings.FILE_EXPIRES_SECONDS = 7200
    for asked, seconds in (({}, 7200), ({"output_expires_after_seconds": 3600}, 3600)):
        batch = finalize(run(start(account, 2, **asked), failing=("1",)))
        for name, file in (("output", batch.output_file), ("error", batch.error_file)):
            assert file is not None
            assert file.owner == batch.owner
            assert (file.purpose, file.filename) == (
                Purpose.BATCH_OUTPUT,
                f"{batch.pk}_{name}.jsonl",
            )
            assert file.expires_at == file.created_at + datetime.timedelta(seconds=seconds)


def test_result_files_are_ranges_of_the_shards_blobs(account: Account) -> None:
    batch = run(start(account, 5), failing=("1",))
    blobs = set(Blob.objects.values_list("pk", flat=True))
    finalize(batch)

    assert set(Blob.objects.values_list("pk", flat=True)) == blobs
    segments = list(Segment.objects.order_by("shard__number"))
    assert batch.output_file is not None
    parts = batch.output_file.parts.order_by("number")
    assert [(part.blob_id, part.start, part.bytes) for part in parts] == [
        (segment.blob_id, 0, segment.output_bytes) for segment in segments
    ]
    assert batch.error_file is not None
    part = batch.error_file.parts.get()
    first = segments[0]
    assert (part.blob_id, part.start, part.bytes) == (
        first.blob_id,
        first.output_bytes,
        first.error_bytes,
    )


def test_a_batch_that_no_engine_moved_on_completes_all_the_same(account: Account) -> None:
    batch = start(account, 2)
    shard = claimed(batch.shards.get())
    journal.finish(shard, 1, answers(unanswered(shard)), advance=False)

    ended(finalize(batch), Status.COMPLETED, (2, 0, 2))


def test_nothing_is_ended_before_its_time(account: Account) -> None:
    for batch in (submit(account, request_lines(1)), run(start(account, 5), most=1)):
        status = batch.status
        assert finalize(batch).status == status
        assert batch.step_lease_expires_at is None
    assert not File.objects.filter(purpose=Purpose.BATCH_OUTPUT).exists()


def test_a_step_somebody_has_is_left_to_them(account: Account) -> None:
    batch = run(start(account, 2))
    assert batch.claim_step(60)
    assert finalize(batch).status == Status.FINALIZING


# Cancelled and expired


def cancel(batch: Batch) -> Batch:
    lifecycle.cancel(batch, actor="test")
    return batch


ENDS = pytest.mark.parametrize(
    ("stop", "status", "code"),
    [(cancel, Status.CANCELLED, "batch_cancelled"), (overdue, Status.EXPIRED, "batch_expired")],
)


@ENDS
def test_what_is_done_is_kept_and_the_rest_is_an_error(
    account: Account, stop: Any, status: Status, code: str
) -> None:
    batch = run(start(account, 7), failing=("1",), most=1)
    record_one(batch, 1)
    lapse()
    stop(batch)

    ended(finalize(batch), status, (2, 5, 7))
    assert ids_of(batch.output_file_id) == ["0", "2"]
    assert ids_of(batch.error_file_id) == ["1", "3", "4", "5", "6"]
    assert codes_of(batch.error_file_id) == ["", *[code] * 4]


@ENDS
def test_a_batch_that_is_validating_ends_without_files(
    account: Account, stop: Any, status: Status, code: str
) -> None:
    batch = finalize(stop(submit(account, request_lines(3))))

    ended(batch, status, (0, 0, 0))
    assert (batch.output_file_id, batch.error_file_id) == (None, None)
    validation.validate(batch.pk)
    assert not batch.shards.exists()


@ENDS
def test_a_shard_in_an_engines_hands_is_waited_for(
    account: Account, stop: Any, status: Status, code: str
) -> None:
    batch = start(account, 4)
    shard = record_one(batch)
    stop(batch)
    running = Batch.objects.get(pk=batch.pk).status

    assert finalize(batch).status == running
    assert batch.step_lease_expires_at is None
    assert journal.record(shard, 1, answers(unanswered(shard)[:0]), LEASE)  # still its own
    lapse()
    ended(finalize(batch), status, (1, 3, 4))


@ENDS
def test_an_end_with_unsent_lines_is_never_called_completed(
    account: Account, stop: Any, status: Status, code: str
) -> None:
    batch = start(account, 4)
    shard = claimed(batch.shards.get(number=0))
    stop(batch)
    finalize(batch)  # closes the other shard

    assert journal.finish(shard, 1, answers(unanswered(shard)), advance=True)
    ended(finalize(batch), status, (2, 2, 4))


@ENDS
def test_an_end_that_was_broken_off_is_the_same_end_later(
    account: Account, stop: Any, status: Status, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = stop(start(account, 4))

    def killed(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(results, "_assemble", killed)
        with pytest.raises(SystemExit):
            results.finalize(batch.pk)
    Batch.objects.update(step_lease_expires_at=None)
    ended(finalize(batch), status, (0, 4, 4))


@ENDS
def test_lost_input_ends_with_an_error_line_for_each_request(
    account: Account, stop: Any, status: Status, code: str
) -> None:
    batch = run(start(account, 4), most=1)
    storage().delete(FilePart.objects.get(file=batch.input_file_id).blob_id)

    finalize(stop(batch))
    assert (batch.status, batch.completed, batch.failed) == (status, 2, 2)
    assert ids_of(batch.output_file_id) == ["0", "1"]
    assert ids_of(batch.error_file_id) == [None, None]
    assert codes_of(batch.error_file_id) == ["input_file_missing"] * 2
    (broken,) = verify(batch)
    assert broken.startswith("Bytes are lost")


def test_all_answers_that_came_before_the_end_of_the_window_make_it_complete(
    account: Account,
) -> None:
    batch = start(account, 2)
    shard = claimed(batch.shards.get())
    journal.finish(shard, 1, answers(unanswered(shard)), advance=False)

    ended(finalize(overdue(batch)), Status.COMPLETED, (2, 0, 2))


def test_who_closed_the_window_and_why_is_in_the_history(account: Account) -> None:
    by_hand, by_clock = start(account, 1), overdue(start(account, 1))
    lifecycle.expire(by_hand, actor="operator ann", reason="too slow")

    last = finalize(by_hand).history.latest("id")
    assert (last.to_status, last.actor, last.reason) == ("expired", "operator ann", "too slow")
    last = finalize(by_clock).history.latest("id")
    assert (last.to_status, last.actor, last.reason) == ("expired", "clock", "")


def test_a_batch_that_starts_at_the_last_moment_loses_no_line(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_upstream()
    batch = overdue(submit(account, request_lines(3)))
    close = results._close_shards

    def close_and_start(*args: Any) -> bool:
        closed = close(*args)
        Batch.objects.update(step_lease_expires_at=None)  # its validator was frozen, and thaws
        validation.validate(batch.pk)
        return closed

    with monkeypatch.context() as patch:
        patch.setattr(results, "_close_shards", close_and_start)
        results.finalize(batch.pk)
    ended(finalize(batch), Status.EXPIRED, (0, 3, 3))


def test_an_engine_that_was_closed_out_changes_nothing(account: Account) -> None:
    batch = start(account, 2)
    shard = batch.shards.get()
    assert shard.claim(make_engine(), LEASE, database_now())
    late = answers(unanswered(shard))
    lapse()
    ended(finalize(cancel(batch)), Status.CANCELLED, (0, 2, 2))

    assert not journal.record(shard, 1, late, LEASE)
    assert not journal.finish(shard, 1, late, advance=True)
    ended(batch, Status.CANCELLED, (0, 2, 2))
