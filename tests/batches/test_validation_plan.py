"""What validation plans for a good file, what it does when it is not alone, and what it costs."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.models import Account
from batches import lifecycle, validation
from batches.models import Batch, Status
from batches.request_reader import RequestReader
from files import jsonl
from files.content import save_blob, save_file, store
from files.models import File, Purpose
from tests.batches.factories import CHAT, make_upstream, request_line, request_lines, submit
from tests.batches.validating import BOM, check, planned, validated
from tests.factories import AccountFactory
from tests.support.apart import output, start

A, B = request_line("a"), request_line("b")


@pytest.fixture(autouse=True)
def _upstream(db: None) -> None:
    make_upstream(served_models=["m", "n"])


# The plan


@pytest.mark.parametrize(
    ("lines", "size", "shards"),
    [(2, 10**6, [2, 2, 1]), (5, 10**6, [5]), (100, 1, [1] * 5), (100, len(A) * 3, [3, 2])],
)
def test_a_shard_has_so_many_lines_and_bytes(
    account: Account, settings: Settings, lines: int, size: int, shards: list[int]
) -> None:
    settings.BATCH_SHARD_LINES, settings.BATCH_SHARD_BYTES = lines, size
    batch = check(account, request_lines(5))
    assert list(batch.shards.order_by("number").values_list("lines", flat=True)) == shards


@hypothesis_settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    breaks=st.lists(
        st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \t\r\n", b"\n\n\r\n\n"]),
        min_size=1,
        max_size=12,
    ),
    begin=st.sampled_from([b"", BOM, b"\n", BOM + b"\r\n \n"]),
    last=st.booleans(),
    lines=st.integers(1, 5),
    size=st.integers(1, 800),
)
def test_the_shards_hold_exactly_the_requests_of_the_file_in_order(
    account: Account,
    settings: Settings,
    breaks: list[bytes],
    begin: bytes,
    last: bool,
    lines: int,
    size: int,
) -> None:
    settings.BATCH_SHARD_LINES, settings.BATCH_SHARD_BYTES = lines, size
    requests = [
        request_line(f"{n} é", f'{{"model": "m", "messages": [{n}, "\\u2028 ☃"]}}').rstrip()
        for n in range(len(breaks))
    ]
    content = begin + b"".join(request + end for request, end in zip(requests, breaks, strict=True))
    batch = check(account, content if last else content.rstrip())

    found = planned(batch)
    assert [request.custom_id.decode() for request in found] == [
        f'"{n} é"' for n in range(len(breaks))
    ]
    assert [request.body for request in found] == [
        f'{{"model": "m", "messages": [{n}, "\\u2028 ☃"]}}'.encode() for n in range(len(breaks))
    ]
    physical = content.split(b"\n")
    assert all(request.body in physical[request.line - 1] for request in found)
    assert batch.total == len(breaks)


# Company


def test_only_a_batch_that_is_validating_is_validated(account: Account) -> None:
    batch = check(account, A)
    shard = batch.shards.get()

    validated(batch)
    assert batch.shards.get() == shard
    assert batch.history.count() == 2


def test_a_step_somebody_has_is_left_to_them(account: Account) -> None:
    batch = submit(account, A)
    assert batch.claim_step(60)

    assert validated(batch).status == Status.VALIDATING


def test_validation_stops_when_the_batch_is_cancelled(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = submit(account, request_lines(5000))
    read = RequestReader.read
    lines_read = []

    def read_and_cancel(reader: RequestReader, line: bytes, number: int) -> Any:
        if number == 500:
            lifecycle.cancel(Batch.objects.get(pk=batch.pk), actor="somebody")
        lines_read.append(number)
        return read(reader, line, number)

    monkeypatch.setattr(validation, "RENEW_SECONDS", -1)
    monkeypatch.setattr(jsonl, "BLOCK", 10_000)
    monkeypatch.setattr(RequestReader, "read", read_and_cancel)

    assert validated(batch).status == Status.CANCELLING
    assert len(lines_read) < 1001
    assert not batch.shards.exists()


def test_a_cancel_at_the_last_moment_wins(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = submit(account, A)

    def check_and_cancel(one: Batch) -> Any:
        plan = check_file(one)
        lifecycle.cancel(Batch.objects.get(pk=batch.pk), actor="somebody")
        return plan

    check_file = validation._check_file
    monkeypatch.setattr(validation, "_check_file", check_and_cancel)

    assert validated(batch).status == Status.CANCELLING
    assert not batch.shards.exists()


# Cost

VALIDATE = """
import sys
from pathlib import Path
from batches.validation import validate
validate(sys.argv[1])
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


@pytest.mark.django_db(transaction=True)
def test_memory_does_not_grow_with_the_file() -> None:
    text = "x" * 2000
    lines = (request_line(str(n), f'{{"model": "m", "messages": "{text}"}}') for n in range(30_000))
    stored = store(lines)
    file = File(account=AccountFactory(), filename="in.jsonl", purpose=Purpose.BATCH)
    file.sha256 = stored.sha256
    save_file(file, [save_blob(stored)])
    batch = lifecycle.submit(
        file.owner, "test", input_file_id=file.pk, endpoint=CHAT, completion_window="24h"
    )

    peak = int(output(start(VALIDATE, batch.pk))) * 1024

    batch.refresh_from_db()
    assert (batch.status, batch.total) == (Status.IN_PROGRESS, 30_000)
    assert file.bytes > 60_000_000
    assert peak < 300_000_000
