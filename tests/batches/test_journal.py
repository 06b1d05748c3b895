"""Results of a shard: recorded once, kept over a crash, and in the end in the order of the input."""

import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from accounts.models import Account
from api.clock import database_now
from batches import execution, journal, lifecycle
from batches.execution import Held
from batches.executor.lines import Code, Result
from batches.models import Batch, Segment, Shard, Status
from files.content import save_blob
from files.models import Blob
from files.storage import Missing, storage
from tests.batches.factories import (
    LEASE,
    answer,
    answers,
    claimed,
    ids_of,
    request_line,
    request_lines,
    run,
    start,
    unanswered,
)

FIVE = request_lines(5)


@pytest.fixture
def batch(account: Account) -> Batch:
    return start(account, FIVE)


@pytest.fixture
def shard(batch: Batch) -> Shard:
    return claimed(batch.shards.get())


def record(shard: Shard, *indexes: int, status: int = 200) -> bool:
    requests = {request.index: request for request in unanswered(shard)}
    results = [answer(requests[index], status) for index in indexes]
    return journal.record(shard, 1, results, LEASE)


def state() -> dict[str, Any]:
    """Return everything a fenced owner could spoil."""
    return {
        "batches": list(Batch.objects.values()),
        "shards": list(Shard.objects.values()),
        "segments": list(Segment.objects.order_by("id").values()),
        "blobs": list(Blob.objects.order_by("key").values()),
        "objects": sorted(storage().keys_older_than(-3600)),
    }


def open_indexes(shard: Shard) -> list[int]:
    return [request.index for request in unanswered(shard)]


# Recording


def test_what_is_recorded_needs_no_more_calls(shard: Shard) -> None:
    assert record(shard, 3, 1)
    assert record(shard, 4, status=400)

    assert open_indexes(shard) == [0, 2]
    assert journal.answered(shard) == {1, 3, 4}


def test_what_is_recorded_is_counted_with_its_tokens(batch: Batch, shard: Shard) -> None:
    record(shard, 3, 1)
    record(shard, 4, status=400)

    batch.refresh_from_db()
    assert (batch.completed, batch.failed, batch.total) == (2, 1, 5)
    assert (batch.input_tokens, batch.cached_tokens) == (4, 2)
    assert (batch.output_tokens, batch.reasoning_tokens) == (6, 2)


def test_recording_renews_the_lease(shard: Shard) -> None:
    Shard.objects.update(lease_expires_at=database_now())
    before = database_now()
    record(shard, 0)

    shard.refresh_from_db()
    assert shard.state == Shard.State.RUNNING
    assert shard.lease_expires_at is not None
    assert shard.lease_expires_at >= before + datetime.timedelta(seconds=LEASE)


def test_the_index_says_of_each_line_what_people_ask(shard: Shard) -> None:
    record(shard, 2, 0)
    record(shard, 1, status=429)

    kept = list(journal.kept_lines(shard))
    assert [
        (one.entry.index, one.entry.completed, one.entry.status, one.entry.cause, one.entry.attempts)
        for one in kept
    ] == [(2, True, 200, "", 1), (0, True, 200, "", 1), (1, False, 429, "http_429", 1)]  # fmt: skip
    for one in kept:
        line = json.loads(journal.read_line(one))
        assert line["custom_id"] == json.loads(bytes(one.entry.custom_id)) == str(one.entry.index)


# Finishing


def finish(shard: Shard, failing: tuple[str, ...] = (), attempt: int = 1) -> bool:
    results = answers(unanswered(shard), failing)
    return journal.finish(shard, attempt, results, advance=True)


@pytest.mark.parametrize("in_memory", [journal.IN_MEMORY, 0])
def test_a_finished_shard_is_one_blob_in_input_order(
    shard: Shard,
    in_memory: int,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    monkeypatch.setattr(journal, "IN_MEMORY", in_memory)
    record(shard, 4, 1)
    record(shard, 3, status=400)
    record(shard, 0)
    with django_capture_on_commit_callbacks(execute=True):
        assert finish(shard)

    segment = shard.segments.get()
    with storage().read(segment.blob_id) as reader:
        content = reader.read()
    output = content[: segment.output_bytes]
    error = content[segment.output_bytes :][: segment.error_bytes]
    assert [json.loads(line)["custom_id"] for line in output.splitlines()] == ["0", "1", "2", "4"]
    assert [json.loads(line)["custom_id"] for line in error.splitlines()] == ["3"]
    assert (segment.completed, segment.failed, segment.input_tokens) == (4, 1, 8)
    assert [one.entry.index for one in journal.kept_lines(shard)] == list(range(5))
    assert list(storage().keys_older_than(-3600)).count(segment.blob_id) == 1
    assert Blob.objects.exclude(pk=segment.blob_id).count() == 1  # the input's


def test_the_last_shard_moves_the_batch_on_and_wakes_the_finaliser(
    account: Account, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BATCH_SHARD_LINES = 3
    batch = start(account, FIVE)
    rung: list[tuple[str, ...]] = []
    monkeypatch.setattr(journal.hints, "ring", lambda *hint: rung.append(hint))

    assert run(batch, most=1).status == Status.IN_PROGRESS
    assert rung == []
    assert run(batch).status == Status.FINALIZING
    assert rung == [("finalize_batch", batch.pk)]


def test_the_last_shard_of_a_cancelled_batch_wakes_the_finaliser(
    batch: Batch, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifecycle.cancel(batch, actor="test")
    rung: list[tuple[str, ...]] = []
    monkeypatch.setattr(journal.hints, "ring", lambda *hint: rung.append(hint))

    assert finish(shard)
    batch.refresh_from_db()
    assert batch.status == Status.CANCELLING
    assert rung == [("finalize_batch", batch.pk)]


# Fences


FENCES: list[Callable[[Shard], object]] = [
    lambda shard: Shard.objects.filter(pk=shard.pk).update(epoch=shard.epoch + 1),
    lambda shard: Shard.objects.filter(pk=shard.pk).update(
        state=Shard.State.WAITING, owner=None, lease_expires_at=None
    ),
    lambda shard: Shard.objects.filter(pk=shard.pk).update(state=Shard.State.DONE),
]


@pytest.mark.parametrize("fence", FENCES, ids=["taken over", "handed back", "done"])
@pytest.mark.parametrize("finished", [False, True])
def test_a_fenced_owner_changes_nothing(
    shard: Shard, fence: Callable[[Shard], object], finished: bool
) -> None:
    record(shard, 0, 1)
    results = answers(unanswered(shard))
    fence(shard)
    before = state()

    if finished:
        assert not journal.finish(shard, 1, results, advance=True)
    else:
        assert not journal.record(shard, 1, results[:1], LEASE)
    assert state() == before


def test_the_next_owner_goes_on_with_exactly_the_unanswered_lines(
    batch: Batch, shard: Shard
) -> None:
    record(shard, 0, 3)
    Shard.objects.update(lease_expires_at=database_now() - datetime.timedelta(seconds=1))

    heir = claimed(Shard.objects.get(pk=shard.pk))
    assert open_indexes(heir) == [1, 2, 4]
    assert not record(shard, 1)  # the dead one, if it was not dead after all
    assert finish(heir)
    batch.refresh_from_db()
    assert (batch.completed, batch.failed) == (5, 0)


def test_a_commit_that_fails_leaves_nothing_behind_in_the_rows(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state()

    def broken(*_: object) -> None:
        raise OSError("the power is gone")

    monkeypatch.setattr(journal, "_count", broken)
    with pytest.raises(OSError, match="power"):
        record(shard, 0)
    after = state()
    assert after | {"objects": []} == before | {"objects": []}
    assert len(after["objects"]) == len(before["objects"]) + 1  # the sweeper's


@pytest.mark.parametrize("finished", [False, True])
def test_a_doubtful_commit_is_not_counted_twice(
    batch: Batch, shard: Shard, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    held = Held(shard, 1, {})
    results = answers(unanswered(shard))
    first = results if finished else results[:2]

    with monkeypatch.context() as patch:
        patch.setattr(journal, "record", and_lose_the_answer(journal.record))
        patch.setattr(journal, "finish", and_lose_the_answer(journal.finish))
        with pytest.raises(ConnectionError):
            execution._record(held, first, finished)
    execution._record(held, results if finished else results[:3], finished)

    batch.refresh_from_db()
    assert batch.completed == (5 if finished else 3)
    assert sum(shard.segments.values_list("completed", flat=True)) == batch.completed


def and_lose_the_answer(commit: Callable[..., bool]) -> Callable[..., bool]:
    def committed(*args: Any, **options: Any) -> bool:
        commit(*args, **options)
        raise ConnectionError("the answer of the commit is lost")

    return committed


# Lost input


def test_lost_input_is_missing_and_its_lines_get_stand_ins(batch: Batch, shard: Shard) -> None:
    record(shard, 2)
    assert batch.held_file is not None
    storage().delete(batch.held_file.parts.get().blob_id)

    with pytest.raises(Missing):
        unanswered(shard)
    requests = journal.lost_requests(shard)
    assert [request.index for request in requests] == [0, 1, 3, 4]
    line = json.loads(journal.closed(requests[0], Code.INPUT_FILE_MISSING).line)
    assert (line["custom_id"], line["response"]) == (None, None)
    assert line["error"]["code"] == "input_file_missing"


def test_input_that_has_become_shorter_is_missing(batch: Batch, shard: Shard) -> None:
    assert batch.held_file is not None
    batch.held_file.parts.update(bytes=10)
    with pytest.raises(Missing):
        unanswered(shard)


# Requeue


def test_a_requeue_keeps_good_lines_and_runs_failures_again(batch: Batch) -> None:
    run(batch, failing=("1", "3"))
    batch.move(Status.COMPLETED, actor="test")
    before = {one.entry.index: bytes(line_of(one)) for one in kept(batch)}
    lifecycle.requeue(batch, actor="test")

    shard = claimed(batch.shards.get())
    assert open_indexes(shard) == [1, 3]
    assert finish(shard, failing=("3",), attempt=2)
    after = {one.entry.index: bytes(line_of(one)) for one in kept(batch)}
    assert sorted(after) == [0, 1, 2, 3, 4]
    assert all(after[index] == before[index] for index in (0, 2, 4))
    assert json.loads(after[1])["response"]["status_code"] == 200
    batch.refresh_from_db()
    assert (batch.completed, batch.failed) == (4, 1)


def kept(batch: Batch) -> list[journal.Kept]:
    return list(journal.kept_lines(batch.shards.get()))


def line_of(one: journal.Kept) -> bytes:
    return journal.read_line(one)


def test_only_blobs_nobody_refers_to_are_dropped(batch: Batch, shard: Shard) -> None:
    record(shard, 0)
    referred = shard.segments.get().blob_id
    lonely = save_blob(journal.store(b"x")).pk

    journal.drop_blobs([referred, lonely])
    assert Blob.objects.filter(pk=referred).exists()
    assert not Blob.objects.filter(pk=lonely).exists()
    with pytest.raises(Missing):
        storage().read(lonely)


def test_odd_ids_come_back_as_they_were_written(account: Account) -> None:
    written = [r'"\u0061"', '"é"', r'"\u00e9\u0301"', r'"\"\\"']
    content = b"".join(
        request_line().replace(b'"a"', custom_id.encode(), 1) for custom_id in written
    )
    batch = start(account, content)
    shard = claimed(batch.shards.get())
    results: list[Result] = answers(unanswered(shard))

    assert [bytes(result.entry.custom_id).decode() for result in results] == written
    assert journal.finish(shard, 1, results, advance=True)
    assert [bytes(one.entry.custom_id).decode() for one in kept(batch)] == written
    assert ids_of(None) == []
