"""Claims that break off, files that cannot be read, a key that was exchanged: nothing is held for ever, nobody waits for another."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import F
from pytest_django import Settings

from accounts.models import Account
from batches import claims, journal
from batches.beat import Heartbeat
from batches.execution import Desk, run_turn
from batches.executor.engine import Engine as Pump
from batches.executor.lines import Request
from batches.models import Shard, Status, Upstream
from batches.verification import verify
from files.storage import storage
from tests.batches.executor.scripted import Call, Scripted, options, reply
from tests.batches.factories import (
    HOUR,
    answers,
    claimed,
    make_engine,
    make_upstream,
    start,
    unanswered,
)
from tests.batches.test_execution import apart, end, model_server
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db(transaction=True)
LINES = 6


@pytest.fixture(autouse=True)
def _small_shards(settings: Settings) -> None:
    settings.BATCH_SHARD_LINES = 2


def test_what_a_broken_claim_has_taken_is_run_in_the_same_turn(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engine beats for all that it holds: the shards would wait until the end of the turn."""
    claim, broken = Shard.claim, []

    def claim_and_break(shard: Shard, *args: Any) -> bool:
        mine = claim(shard, *args)
        if shard.number == 1 and not broken:
            broken.append(shard)
            raise OperationalError("the connection was cut")
        return mine

    monkeypatch.setattr(Shard, "claim", claim_and_break)
    with model_server(lambda _: reply()) as server:
        batch = start(account, LINES)
        run_turn(lambda: False)

    assert broken
    assert len(server.calls) == LINES
    assert verify(end(batch, Status.COMPLETED)) == []


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_lines_whose_results_are_lost_run_again(
    account: Account, damage: str, settings: Settings
) -> None:
    settings.BATCH_SHARD_LINES = LINES
    with model_server(lambda _: reply()) as server:
        batch = start(account, LINES)
        shard = claimed(batch.shards.get())
        assert journal.record(shard, 1, answers(unanswered(shard))[:4], 0)
        path = storage().path(shard.segments.get().blob_id)  # type: ignore[attr-defined]
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-20] + b"x" * 20)
        Shard.objects.update(state=Shard.State.WAITING, lease_expires_at=None)
        run_turn(lambda: False)

    assert len(server.calls) == LINES
    assert verify(end(batch, Status.COMPLETED)) == []


def test_a_batch_that_cannot_be_read_keeps_nobody_waiting(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = journal.unanswered
    with model_server(lambda _: reply()) as server:
        first, second = start(account, LINES), start(AccountFactory(), LINES)

        def fail_for_the_first(shard: Shard, input_file_id: str) -> list[Request]:
            if shard.batch_id == first.pk:
                raise OSError("a bad sector")
            return read(shard, input_file_id)

        monkeypatch.setattr(journal, "unanswered", fail_for_the_first)
        run_turn(lambda: False)

    assert len(server.calls) == LINES
    assert verify(end(second, Status.COMPLETED)) == []
    assert set(Shard.objects.filter(batch=first).values_list("state", flat=True)) == {"waiting"}


def test_a_key_that_was_exchanged_meanwhile_is_not_blamed(account: Account) -> None:
    """The engine calls with the key it was given; the provider has revoked it since."""

    def exchange() -> None:
        upstream = Upstream.objects.get()
        upstream.api_key = "sk-new"
        upstream.save()

    async def refuse_the_old(call: Call) -> bytes:
        if call.headers["authorization"] == "Bearer sk-new":
            return reply()
        await asyncio.to_thread(apart, exchange)
        return reply(b'{"error":{"message":"no such key"}}', 401)

    with model_server(refuse_the_old):
        batch = start(account, LINES, max_concurrency=1)
        run_turn(lambda: False)

    assert Upstream.objects.get().paused_at is None
    assert end(batch, Status.COMPLETED).completed == LINES


def test_one_claim_brings_no_more_than_its_bytes(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = start(account, LINES)
    shard = batch.shards.first()
    assert shard is not None
    monkeypatch.setattr(claims, "MOST_BYTES_AT_ONCE", shard.end - shard.start + 1)
    taken = claims.claim_shards(make_engine(), 1000, claims.Hand())

    assert len(taken) == 2  # the second one fills what is left


def test_a_late_record_does_not_forget_what_was_claimed_anew(account: Account) -> None:
    """The engine's lease had lapsed, perhaps because its host slept; then it claimed its own shard again."""
    make_upstream()
    batch = start(account, 2)
    engine = make_engine()

    async def claim_again() -> tuple[bool, bool]:
        with ThreadPoolExecutor(1) as thread:
            desk = Desk(engine, thread)
            pump = Pump(desk, Scripted(), options())
            desk.heartbeat = Heartbeat(engine, pump, asyncio.get_running_loop())
            [old] = await desk.claim(10, frozenset())
            await desk._in_thread(
                lambda: batch.shards.update(lease_expires_at=F("lease_expires_at") - HOUR)
            )
            results = answers(old.requests)
            claims = asyncio.create_task(desk.claim(10, frozenset()))
            await asyncio.sleep(0)  # it is in the thread, and the record behind it
            late = await desk.record(old, results, finished=True)
            [new] = await claims
            mine = await desk.record(new, results, finished=True)
            await desk.close()
            return late, mine

    assert asyncio.run(claim_again()) == (False, True)
    assert verify(end(batch, Status.COMPLETED)) == []
