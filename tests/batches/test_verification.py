"""verify() is worth something only if it finds what is broken: each test breaks one thing."""

import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import Account
from batches import journal, lifecycle, results
from batches.executor.lines import Result, answer_line
from batches.executor.transport import Answer
from batches.models import Batch, Segment, Status, Transition
from batches.verification import verify
from files.content import open_file, save_blob, store
from files.models import Blob, File
from files.storage import storage
from tests.batches.factories import (
    PATHS,
    claimed,
    reach,
    request_lines,
    run,
    start,
    submit,
    unanswered,
)

GOOD = '{"id":"batch_req_1","custom_id":"0","response":{"status_code":200,"request_id":"r","body":{}},"error":null}'
BAD = '{"id":"batch_req_1","custom_id":"1","response":null,"error":{"code":"batch_expired","message":"m"}}'


@pytest.fixture
def batch(account: Account, settings: Settings) -> Batch:
    """A completed batch: 0, 2, 3 in the output file, 1 and 4 in the error file."""
    settings.BATCH_SHARD_LINES = 3
    batch = run(start(account, 5), failing=("1", "4"))
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert verify(batch) == []
    return batch


def broken(batch: Batch) -> str:
    """Return the one promise that is broken."""
    (text,) = verify(Batch.objects.get(pk=batch.pk))
    return text


def rewrite(batch: Batch, name: str, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Write a result file anew, with other lines."""
    file = getattr(batch, name)
    lines = b"".join(open_file(file)).splitlines(keepends=True)
    content = b"".join(change(lines))
    blob = save_blob(store(content))
    first = file.parts.order_by("number")[0]
    file.parts.exclude(pk=first.pk).delete()
    file.parts.update(blob=blob, start=0, bytes=len(content))
    File.objects.filter(pk=file.pk).update(bytes=len(content))


# Lines


def test_a_missing_line_is_found(batch: Batch) -> None:
    rewrite(batch, "output_file", lambda lines: lines[:2])
    found = verify(batch)
    assert "The output_file has 2 lines, but the count says 3." in found
    assert "Line 4 of the input has no result in its place." in found


def test_a_doubled_line_is_found(batch: Batch) -> None:
    rewrite(batch, "output_file", lambda lines: [lines[0], *lines])
    found = verify(batch)
    assert "The output_file has 4 lines, but the count says 3." in found
    assert "Line 3 of the input has no result in its place." in found


def test_a_line_in_the_place_of_another_is_found(batch: Batch) -> None:
    rewrite(batch, "output_file", lambda lines: [lines[0], lines[0], lines[2]])
    assert broken(batch) == "Line 3 of the input has no result in its place."


def test_the_wrong_order_is_found(batch: Batch) -> None:
    rewrite(batch, "error_file", lambda lines: lines[::-1])
    assert broken(batch) == "Line 2 of the input has no result in its place."


def test_a_result_nobody_asked_for_is_found(batch: Batch) -> None:
    extra = GOOD.replace('"0"', '"9"').encode() + b"\n"
    rewrite(batch, "output_file", lambda lines: [*lines, extra])
    Batch.objects.update(completed=4, total=6)
    assert broken(batch) == "There are results that no line of the input asked for."


@pytest.mark.parametrize(
    ("name", "line", "text"),
    [
        ("output_file", "{", "is wrong"),
        ("output_file", "[]", "its keys are not id, custom_id, response, error"),
        ("output_file", GOOD.replace('"error":null', '"more":1'), "its keys are not"),
        ("output_file", GOOD.replace(',"error":null', ""), "its keys are not"),
        ("output_file", GOOD.replace('"0"', "0"), "`str"),
        ("output_file", GOOD.replace("200", '"200"'), "`int`"),
        ("output_file", GOOD.replace('"request_id":"r",', ""), "request_id"),
        ("output_file", GOOD.replace("{}", "{NaN}"), "is wrong"),
        ("output_file", GOOD.replace("{}", "NaN"), "NaN is not JSON"),
        ("output_file", GOOD.replace("200", "404"), "status 404 does not belong here"),
        ("output_file", BAD.replace('"1"', '"0"'), "it has no answer"),
        ("error_file", GOOD.replace('"0"', '"1"'), "status 200 does not belong here"),
        ("error_file", BAD.replace('{"code":"batch_expired","message":"m"}', "null"), "no answer"),
        ("error_file", BAD.replace("batch_expired", "batch_eaten"), "not one of those documented"),
        (
            "error_file",
            GOOD.replace('"0"', '"1"').replace("200", "500").replace('"error":null', '"error":{"code":"x","message":""}'),
            "does not belong here",
        ),
    ],
)  # fmt: skip
def test_a_line_of_the_wrong_shape_is_found(batch: Batch, name: str, line: str, text: str) -> None:
    rewrite(batch, name, lambda lines: [line.encode() + b"\n", *lines[1:]])
    found = verify(batch)
    assert found[0].startswith(f"Line 1 of the {name} is wrong: ")
    assert text in found[0]


@pytest.mark.parametrize("line", [GOOD, BAD])
def test_a_line_of_the_right_shape_is_not(batch: Batch, line: str) -> None:
    name = "output_file" if line == GOOD else "error_file"
    rewrite(batch, name, lambda lines: [line.encode() + b"\n", *lines[1:]])
    assert verify(batch) == []


@pytest.mark.parametrize(
    "body", [b'{"text":"half a pair: \\ud83d"}', b'{"text":"\\u0000 \xe2\x80\xa8"}', b'{"n":1e999}']
)
def test_what_an_upstream_may_answer_breaks_no_promise(account: Account, body: bytes) -> None:
    batch = start(account, 1)
    shard = claimed(batch.shards.get())
    (request,) = unanswered(shard)
    line = answer_line(request, Answer(200, {}, body))
    good = {"completed": True, "attempts": 1, "status": 200, "cause": "", "latency_ms": 1}
    journal.finish(shard, 1, [Result.of(request, line, **good)], advance=True)

    results.finalize(batch.pk)
    assert verify(Batch.objects.get()) == []


# Bytes


def test_changed_bytes_are_found(batch: Batch) -> None:
    blob = Segment.objects.order_by("id")[0].blob
    path = storage().path(blob.pk)  # type: ignore[attr-defined]  # the local one
    path.write_bytes(path.read_bytes().replace(b'"ok":true', b'"ok":null'))

    assert verify(batch) == [
        f"The bytes of {blob.pk} in {file_id} have changed since they were written."
        for file_id in (batch.output_file_id, batch.error_file_id)
    ]


@pytest.mark.parametrize("left", [0, 10])
def test_lost_bytes_are_found(batch: Batch, left: int) -> None:
    blob = Segment.objects.latest("id").blob
    path = storage().path(blob.pk)  # type: ignore[attr-defined]
    path.write_bytes(path.read_bytes()[:left])
    assert verify(batch)[-1].startswith("Bytes are lost: ")

    path.unlink()
    assert broken(batch).startswith("Bytes are lost: ")


def test_a_file_of_another_size_than_its_row_says_is_found(batch: Batch) -> None:
    File.objects.filter(pk=batch.output_file_id).update(bytes=10**6)
    assert broken(batch).endswith("bytes, but its row says 1000000.")


def test_lost_input_is_found(batch: Batch) -> None:
    storage().delete(File.objects.get(pk=batch.input_file_id).parts.get().blob_id)
    assert broken(batch).startswith("Bytes are lost: ")


def test_files_their_owner_has_deleted_break_no_promise(batch: Batch) -> None:
    for file_id in (batch.input_file_id, batch.output_file_id, batch.error_file_id):
        File.objects.get(pk=file_id).delete()
        assert verify(batch) == []


# Counts


@pytest.mark.parametrize(
    ("counts", "texts"),
    [
        (
            {"completed": 2},
            [
                "The counts do not add up: 2 + 2 is not 5.",
                "The output_file has 3 lines, but the count says 2.",
            ],
        ),
        ({"total": 6}, ["The counts do not add up: 3 + 2 is not 6."]),
        (
            {"error_file": None},
            [
                "There is no error_file, but 2 lines should be in it.",
                "Line 2 of the input has no result in its place.",
            ],
        ),
    ],
)
def test_a_wrong_count_is_found(batch: Batch, counts: dict[str, Any], texts: list[str]) -> None:
    Batch.objects.update(**counts)
    assert verify(Batch.objects.get()) == texts


def test_counts_beyond_the_total_are_found_while_the_batch_runs(account: Account) -> None:
    batch = start(account, 3)
    batch.completed, batch.failed = 2, 2  # no row can say so
    assert verify(batch) == ["The counts pass the total: 2 + 2 of 3."]


# History


def test_an_illegal_move_is_found(batch: Batch) -> None:
    batch.history.filter(to_status=Status.FINALIZING).delete()
    found = verify(batch)
    assert (
        "The history has an illegal move: in_progress, then from finalizing to completed." in found
    )
    assert "finalizing_at does not agree with the history." in found


def test_a_move_that_the_history_does_not_know_is_found(batch: Batch) -> None:
    Transition.objects.latest("id").delete()
    found = verify(batch)
    assert "The history ends in finalizing, but the batch is completed." in found


def test_a_history_without_a_beginning_is_found(batch: Batch) -> None:
    batch.history.filter(from_status="").delete()
    assert broken(batch) == "The history does not begin with the creation of the batch."


def test_a_wrong_attempt_is_found(batch: Batch) -> None:
    batch.history.filter(to_status=Status.COMPLETED).update(attempt=2)
    assert "The history's attempt goes from 1 to 2 at completed." in verify(batch)


def test_a_state_set_behind_the_tables_back_is_found(batch: Batch) -> None:
    Batch.objects.update(status=Status.FAILED)
    assert "The history ends in completed, but the batch is failed." in verify(Batch.objects.get())


@pytest.mark.parametrize("stamp", ["in_progress_at", "completed_at", "expired_at"])
def test_a_stamp_that_nothing_explains_is_found(batch: Batch, stamp: str) -> None:
    moment = None if getattr(batch, stamp) else batch.completed_at
    Batch.objects.update(**{stamp: moment})
    assert f"{stamp} does not agree with the history." in verify(Batch.objects.get())


def test_stamps_out_of_order_are_found(batch: Batch) -> None:
    Batch.objects.update(created_at=batch.created_at + datetime.timedelta(days=1))
    assert broken(batch) == "The stamps are not in order."


@pytest.mark.parametrize("status", sorted(PATHS))
def test_a_batch_in_order_is_told_so_in_every_state(account: Account, status: Status) -> None:
    assert verify(reach(submit(account, request_lines(0) or b"\n"), status)) == []


def test_a_requeued_batch_keeps_its_promises(batch: Batch) -> None:
    lifecycle.requeue(batch, actor="test")
    assert verify(batch) == []
    run(batch, failing=("4",))
    results.finalize(batch.pk)
    again = Batch.objects.get()
    assert verify(again) == []
    assert (again.completed, again.failed, again.attempt) == (4, 1, 2)


def test_nothing_is_changed_by_looking(batch: Batch) -> None:
    before = list(Batch.objects.values()), list(Blob.objects.values()), json.dumps(verify(batch))
    assert (list(Batch.objects.values()), list(Blob.objects.values()), "[]") == before
