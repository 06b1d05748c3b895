"""Turns at the pump: real database, real HTTP to a model server on loopback, in this process."""

import asyncio
import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from django.db import connection
from django.db.models import F
from pytest_django import Settings

from accounts.models import Account
from api.clock import database_now
from batches import beat, lifecycle, results
from batches.execution import run_turn
from batches.executor.engine import Engine as Pump
from batches.executor.pace import START
from batches.models import Batch, Engine, Pace, Segment, Shard, Share, Status, Upstream
from batches.verification import verify
from files.models import FilePart
from files.storage import storage
from tests.batches.executor.scripted import Call, Script, reply, serving
from tests.batches.executor.scripted import Upstream as Server
from tests.batches.factories import (
    HOUR,
    codes_of,
    ids_of,
    lines_of,
    make_upstream,
    request_line,
    request_lines,
    start,
)

pytestmark = pytest.mark.django_db(transaction=True)
SECONDS = 30
T = TypeVar("T")
USED = {"usage": {"prompt_tokens": 2, "completion_tokens": 3}}


@contextmanager
def model_server(script: Script, **fields: Any) -> Iterator[Server]:
    """Serve in a thread of its own, for a turn takes the test's; make the row that names it."""
    started: queue.SimpleQueue[tuple[Server, Callable[[], object]]] = queue.SimpleQueue()

    async def serve() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        async with serving(script) as server:
            started.put((server, lambda: loop.call_soon_threadsafe(over.set)))
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    server, stop = started.get(timeout=SECONDS)
    try:
        make_upstream(base_url=server.url, api_key="sk-up", **fields)
        yield server
    finally:
        stop()
        thread.join(SECONDS)


def apart(act: Callable[[], T]) -> T:
    """Act in a thread that ends here: its connection must not outlive it."""
    try:
        return act()
    finally:
        connection.close()


async def with_rows(act: Callable[[], object]) -> None:
    """Let a script of the model server change rows."""
    await asyncio.to_thread(apart, act)


@pytest.fixture(autouse=True)
def _quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat, "BEAT_SECONDS", 0.5)
    settings.BATCH_SHARD_LINES = 4
    settings.BATCH_DRAIN_SECONDS = settings.BATCH_CANCEL_GRACE_SECONDS = 0.1


def turn(draining: Callable[[], bool] = lambda: False) -> None:
    run_turn(draining)
    assert not Engine.objects.exists()
    assert not Share.objects.exists()
    assert not Shard.objects.filter(owner__isnull=False).exists()


def end(batch: Batch, status: Status) -> Batch:
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert batch.status == status
    assert verify(batch) == []
    return batch


def test_a_turn_runs_every_line_once_and_the_results_are_in_order(account: Account) -> None:
    bodies = [f'{{"model":"m", "messages":[ {n}.10e2 ], "é":"\\u0041"}}' for n in range(30)]
    content = b"".join(request_line(str(n), body) for n, body in enumerate(bodies))

    with model_server(lambda call: reply(USED)) as server:
        batch = start(account, content)
        turn()

    assert sorted(call.body for call in server.calls) == sorted(body.encode() for body in bodies)
    assert {call.headers["authorization"] for call in server.calls} == {"Bearer sk-up"}
    assert {call.path for call in server.calls} == {"/v1/chat/completions"}
    end(batch, Status.COMPLETED)
    assert (batch.completed, batch.failed, batch.attempt) == (30, 0, 1)
    assert (batch.input_tokens, batch.output_tokens) == (60, 90)
    assert ids_of(batch.output_file_id) == [str(number) for number in range(30)]
    assert all(line["response"]["body"] == USED for line in lines_of(batch.output_file_id))


def test_a_turn_without_work_ends() -> None:
    turn()


def test_a_turn_that_drains_hands_back_what_it_has_not_done(account: Account) -> None:
    async def script(call: Call) -> bytes:
        if call.number > 5:
            await asyncio.sleep(SECONDS)
        return reply()

    with model_server(script) as server:
        batch = start(account, 12, max_concurrency=3)
        turn(draining=lambda: len(server.calls) >= 8)

    batch.refresh_from_db()
    assert (batch.status, batch.completed, batch.failed) == (Status.IN_PROGRESS, 5, 0)
    assert len(server.calls) == 8
    with model_server(lambda call: reply()) as second:
        Batch.objects.update(upstream=Upstream.objects.latest("id"))
        turn()
    assert len(second.calls) == 7
    assert end(batch, Status.COMPLETED).completed == 12


def test_a_turn_ends_when_its_time_is_up(account: Account, settings: Settings) -> None:
    settings.BATCH_TURN_SECONDS = 0

    async def script(call: Call) -> bytes:
        await asyncio.sleep(0.05)
        return reply()

    with model_server(script) as server:
        batch = start(account, 2000, max_concurrency=2)
        turn()

    batch.refresh_from_db()
    assert batch.status == Status.IN_PROGRESS
    assert batch.completed == len(server.calls) < 2000  # calls in flight may end


def rows() -> list[Any]:
    return [list(model.objects.values()) for model in (Shard, Batch, Segment)]


@pytest.mark.parametrize("answered", [True, False])
def test_an_engine_that_was_taken_over_changes_nothing(account: Account, answered: bool) -> None:
    """By its next commit it is fenced, and its heartbeat ends the calls that have no answer."""
    seen: list[Any] = []

    def take_over() -> None:
        Shard.objects.update(
            epoch=F("epoch") + 1, owner=None, lease_expires_at=database_now() + HOUR
        )
        seen.append(rows())

    async def script(call: Call) -> bytes:
        if call.number == 1:
            await with_rows(take_over)
            if not answered:
                await asyncio.sleep(SECONDS)
        return reply()

    with model_server(script) as server:
        start(account, 3, max_concurrency=1)
        turn()

    assert [rows()] == seen
    assert server.aborted == (not answered)
    assert not Segment.objects.exists()


@pytest.mark.parametrize(
    ("stop", "status", "code"),
    [
        (lifecycle.cancel, Status.CANCELLED, "batch_cancelled"),
        (lifecycle.expire, Status.EXPIRED, "batch_expired"),
    ],
)
def test_a_batch_that_is_stopped_gets_no_new_call_and_ends(
    account: Account, stop: Callable[..., None], status: Status, code: str
) -> None:
    async def script(call: Call) -> bytes:
        if call.number == 3:
            await with_rows(lambda: stop(Batch.objects.get(), actor="test"))
        if call.number >= 3:
            await asyncio.sleep(SECONDS)
        return reply()

    with model_server(script) as server:
        batch = start(account, 12, max_concurrency=2)
        turn()

    assert len(server.calls) == 4
    end(batch, status)
    assert (batch.completed, batch.failed) == (2, 10)
    assert codes_of(batch.error_file_id) == [code] * 10


def test_no_more_calls_at_once_than_the_batch_allows(account: Account) -> None:
    async def script(call: Call) -> bytes:
        await asyncio.sleep(0.01)
        return reply()

    with model_server(script) as server:
        batch = start(account, 40, max_concurrency=3)
        turn()

    assert server.most_in_flight == 3
    assert end(batch, Status.COMPLETED).completed == 40


def test_an_upstream_that_is_down_is_noted_and_so_is_its_return(account: Account) -> None:
    seen: list[Upstream] = []

    def look() -> None:
        seen.extend(Upstream.objects.filter(down_at__isnull=False))

    async def script(call: Call) -> bytes:
        if not seen:
            await with_rows(look)
        return reply(USED) if seen else reply({}, 502)

    with model_server(script):
        batch = start(account, 12)
        turn()

    assert seen[0].last_error == "HTTP 502"
    upstream = Upstream.objects.get()
    assert (upstream.down_at, upstream.last_error) == (None, "HTTP 502")
    assert end(batch, Status.COMPLETED).completed == 12


def test_a_turn_begins_at_the_pace_that_was_found(account: Account) -> None:
    async def script(call: Call) -> bytes:
        await asyncio.sleep(0.01)
        return reply(USED)

    with model_server(script) as server:
        now = database_now()
        Pace.objects.create(upstream=Upstream.objects.get(), model="m", calls=3, found_at=now)
        start(account, 20)
        turn()

    assert server.most_in_flight == 3


def test_what_a_turn_finds_is_kept(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat, "BEAT_SECONDS", 0.2)

    async def script(call: Call) -> bytes:
        await asyncio.sleep(0.02)
        return reply(USED)

    with model_server(script):
        start(account, 1000)
        turn()

    found = Pace.objects.get()
    assert (found.upstream, found.model) == (Upstream.objects.get(), "m")
    assert found.calls >= START


def test_errors_go_to_the_error_file_with_the_upstreams_own_answer(account: Account) -> None:
    def script(call: Call) -> bytes:
        number = json.loads(call.body)["messages"]
        return reply({"error": number}, status=422) if number % 3 == 0 else reply()

    content = b"".join(
        request_line(str(n), f'{{"model": "m", "messages": {n}}}') for n in range(10)
    )
    with model_server(script) as server:
        batch = start(account, content)
        turn()

    assert len(server.calls) == 10
    end(batch, Status.COMPLETED)
    assert ids_of(batch.error_file_id) == ["0", "3", "6", "9"]
    responses = [line["response"] for line in lines_of(batch.error_file_id)]
    assert [(one["status_code"], one["body"]) for one in responses] == [
        (422, {"error": number}) for number in (0, 3, 6, 9)
    ]


def test_a_refused_key_pauses_the_upstream_and_costs_no_line(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    with model_server(lambda call: reply({"error": {}}, status=401)):
        batch = start(account, 8, max_concurrency=2)
        turn()

    upstream = Upstream.objects.get()
    batch.refresh_from_db()
    assert upstream.paused_at is not None
    assert "401" in upstream.pause_reason
    assert "is paused" in caplog.text
    assert "sk-up" not in caplog.text
    assert (batch.status, batch.completed, batch.failed) == (Status.IN_PROGRESS, 0, 0)
    assert set(batch.shards.values_list("state", flat=True)) == {Shard.State.WAITING}


def test_lines_whose_input_is_lost_fail_without_a_call(account: Account) -> None:
    with model_server(lambda call: reply()) as server:
        batch = start(account, 6)
        storage().delete(FilePart.objects.get(file=batch.input_file_id).blob_id)
        turn()

    assert server.calls == []
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert (batch.status, batch.completed, batch.failed) == (Status.COMPLETED, 0, 6)
    assert codes_of(batch.error_file_id) == ["input_file_missing"] * 6


def test_a_turn_that_breaks_off_hands_back_what_it_had(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_off(pump: Any) -> None:
        assert await pump._source.claim(1, frozenset())
        assert await asyncio.to_thread(apart, Shard.objects.filter(state="running").exists)
        raise RuntimeError("a bug")

    monkeypatch.setattr(Pump, "run", break_off)
    batch = start(account, 6)

    with pytest.raises(RuntimeError, match="a bug"):
        turn()
    assert set(batch.shards.values_list("state", flat=True)) == {Shard.State.WAITING}
    assert not Engine.objects.exists()


def test_two_turns_at_once_share_the_work_and_double_nothing(account: Account) -> None:
    async def script(call: Call) -> bytes:
        await asyncio.sleep(0.005)
        return reply()

    def one_turn() -> None:
        run_turn(lambda: False)

    with model_server(script, limit=6) as server:
        batch = start(account, request_lines(120))
        turns = [threading.Thread(target=apart, args=[one_turn]) for _ in range(2)]
        for one in turns:
            one.start()
        for one in turns:
            one.join()

    assert len(server.calls) == 120
    assert server.most_in_flight <= 6
    assert end(batch, Status.COMPLETED).completed == 120
