"""Single lines of a batch, as operators see them."""

import json
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import Account
from batches import inspection, journal, lifecycle, results
from batches.inspection import Place, Wanted
from batches.models import Batch, Segment
from files.models import FilePart
from files.storage import storage
from tests.batches.factories import (
    LEASE,
    answers,
    claimed,
    request_line,
    run,
    start,
    unanswered,
)


@pytest.fixture(autouse=True)
def _small_shards(settings: Settings) -> None:
    settings.BATCH_SHARD_LINES = 3


@pytest.fixture
def batch(account: Account) -> Batch:
    """Nine lines: 0 to 2 done, of which 1 failed; of 3 to 5, 3 is recorded and the rest is running; 6 to 8 wait."""
    batch = run(start(account, 9), failing=("1",), most=1)
    shard = claimed(batch.shards.get(number=1))
    assert journal.record(shard, 1, answers(unanswered(shard)[:1]), LEASE)
    return batch


def seen(page: inspection.Page) -> list[tuple[str, str]]:
    return [(line.custom_id, line.state) for line in page.lines]


def test_every_line_is_there_in_its_order_with_its_state(batch: Batch) -> None:
    page = inspection.lines(batch)

    states = ["completed", "failed", "completed", "completed", *["running"] * 2, *["waiting"] * 3]
    assert seen(page) == list(zip(map(str, range(9)), states, strict=True))
    assert [line.number for line in page.lines] == list(range(1, 10))
    assert page.more is None
    failed = page.lines[1]
    assert (failed.attempts, failed.status, failed.cause, failed.latency_ms) == (
        1,
        400,
        "http_400",
        5,
    )


def test_pages_follow_each_other_without_a_gap(batch: Batch) -> None:
    place, found = Place(), []
    while place is not None:
        page = inspection.lines(batch, start=place, limit=2)
        found += page.lines
        place = page.more

    assert [line.number for line in found] == list(range(1, 10))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(state="failed"), ["1"]),
        (Wanted(state="completed"), ["0", "2", "3"]),
        (Wanted(state="running"), ["4", "5"]),
        (Wanted(state="waiting"), ["6", "7", "8"]),
        (Wanted(cause="http_400"), ["1"]),
        (Wanted(cause="http_500"), []),
        (Wanted(custom_id="7"), ["7"]),
        (Wanted(state="failed", custom_id="2"), []),
    ],
)
def test_lines_can_be_chosen(batch: Batch, wanted: Wanted, expected: list[str]) -> None:
    page = inspection.lines(batch, wanted)

    assert [line.custom_id for line in page.lines] == expected
    assert page.more is None


def test_one_look_goes_only_so_far_and_says_where_to_go_on(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = run(start(account, 12))
    monkeypatch.setattr(inspection, "LOOKS", 2)
    monkeypatch.setattr(inspection, "CHUNK", 1)

    first = inspection.lines(batch, Wanted(custom_id="11"))
    assert (first.lines, first.more) == ([], Place(2, 0))
    assert seen(inspection.lines(batch, Wanted(custom_id="11"), Place(2))) == [("11", "completed")]


def test_the_number_of_queries_does_not_grow_with_the_batch(
    account: Account, django_assert_max_num_queries: Any
) -> None:
    batch = run(start(account, 90))

    with django_assert_max_num_queries(4):
        inspection.lines(batch, Wanted(custom_id="89"))


# Causes


def test_causes_are_counted_over_all_segments(account: Account) -> None:
    batch = run(start(account, 9), failing=("0", "4", "5"), most=2)
    lifecycle.cancel(batch, actor="me")
    results.finalize(batch.pk)

    assert [(one.cause, one.lines) for one in inspection.causes(batch)] == [
        ("http_400", 3),
        ("batch_cancelled", 3),
    ]


def test_causes_come_with_what_one_line_was_told(
    account: Account, django_assert_num_queries: Any
) -> None:
    batch = run(start(account, 9), failing=("0", "4", "5"), most=2)
    lifecycle.cancel(batch, actor="me")
    results.finalize(batch.pk)

    with django_assert_num_queries(1):
        found = inspection.causes(batch, samples=2)

    ours = "This request was not executed because the batch was cancelled."
    assert [(one.sample, one.is_told) for one in found] == [
        ("The model is not there.", True),
        (ours, False),
    ]
    assert [one.without_content().sample for one in found] == ["", ours]
    assert [one.sample for one in inspection.causes(batch, samples=1)][1] == ""


@pytest.mark.parametrize(
    "rerun",
    [
        lifecycle.Rerun(causes=frozenset({"batch_cancelled"})),
        lifecycle.Rerun(lines={2: [0, 1, 2]}),
    ],
)
def test_lines_that_run_again_are_no_failures(account: Account, rerun: lifecycle.Rerun) -> None:
    batch = run(start(account, 9), failing=("0", "4", "5"), most=2)
    lifecycle.cancel(batch, actor="me")
    results.finalize(batch.pk)
    batch.refresh_from_db()

    lifecycle.requeue(batch, actor="me", rerun=rerun)

    assert [(one.cause, one.lines) for one in inspection.causes(batch)] == [("http_400", 3)]


# One line


def test_a_line_has_its_request_and_its_answer(account: Account) -> None:
    body = '{"model": "m",  "messages": ["\\u00e9"]}'
    batch = run(start(account, request_line("a", body) + request_line("b", body)), failing=("b",))

    detail = inspection.line(batch, Place(0, 1))

    assert detail is not None
    assert (detail.row.custom_id, detail.row.number, detail.row.state) == ("b", 2, "failed")
    assert detail.request == body.encode()
    assert json.loads(detail.answer or b"")["response"]["status_code"] == 400


def test_a_line_without_a_result_has_no_answer(batch: Batch) -> None:
    detail = inspection.line(batch, Place(2, 0))

    assert detail is not None
    assert (detail.row.state, detail.answer) == ("waiting", None)
    assert detail.request is not None


@pytest.mark.parametrize("place", [Place(0, 3), Place(3, 0), Place(10**8, 10**8)])
def test_there_are_no_other_lines(batch: Batch, place: Place) -> None:
    assert inspection.line(batch, place) is None


def test_what_the_storage_has_lost_is_left_out(batch: Batch) -> None:
    for part in FilePart.objects.filter(file=batch.input_file_id):
        storage().delete(part.blob_id)
    for segment in Segment.objects.of(batch):
        storage().delete(segment.blob_id)

    page = inspection.lines(batch)
    detail = inspection.line(batch, Place(0, 0))

    assert {line.custom_id for line in page.lines} == {""}
    assert [line.state for line in page.lines[::3]] == ["lost", "running", "waiting"]
    assert detail is not None
    assert (detail.request, detail.answer) == (None, None)


@pytest.mark.parametrize("text", ["", "1", "1.", ".1", "1.x", "-1.2", "1.2.3", "\u0661.2"])
def test_a_place_is_two_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="A place"):
        Place.parse(text)


def test_a_place_is_read_as_it_is_written() -> None:
    assert Place.parse(str(Place(3, 14))) == Place(3, 14)


def test_json_is_shown_in_lines_and_at_most_so_much_of_it() -> None:
    assert inspection.pretty(b'{"a":[1,2]}').count("\n") == 5
    assert inspection.pretty(b"<html>") == "<html>"
    long = inspection.pretty(b'"' + b"x" * inspection.SHOWN_BYTES + b'"')
    assert long.endswith("... 2 bytes more")
