"""How works end: finished, stopped, cancelled, expired, or fenced."""

import asyncio
import time

import pytest

from batches.executor.engine import Engine, Work
from batches.executor.recorder import Recorder, Settled
from batches.executor.transport import Answer
from tests.batches.executor.scripted import (
    Raw,
    Scripted,
    options,
    run,
    running,
    serving,
    source,
    transport,
    until,
    work,
)

GOOD = Answer(200, {}, b"{}")


class Gate:
    """A script whose calls wait until they are let through."""

    def __init__(self):
        self.open = asyncio.Event()

    async def __call__(self, id, body):
        await self.open.wait()
        return GOOD


# Stop


async def test_stop_lets_calls_in_flight_end_and_hands_back_the_rest():
    gate, given = Gate(), source(work(10), work(5, batch="later"))
    http = Scripted(lambda id, body: gate(id, body))
    engine = Engine(given, http, options(concurrency=4))
    async with running(engine):
        await until(lambda: engine.in_flight == 4)
        claims = len(given.claims)
        engine.stop(60)
        gate.open.set()

    assert len(http.calls) == 4
    assert len(given.claims) == claims
    assert len(given.results) == 4
    assert [one.left for one in given.released] == [6]
    assert given.finished == []


async def test_stop_aborts_what_does_not_end_in_time():
    async with serving(lambda call: Raw(then="hang")) as upstream, transport() as http:
        given = source(work(10, target=upstream.target(timeout=600)))
        engine = Engine(given, http, options(concurrency=4))
        async with running(engine):
            await until(lambda: upstream.in_flight == 4)
            engine.stop(0.05)
        await until(lambda: upstream.aborted == 4)

    assert given.results == []
    assert [one.left for one in given.released] == [10]


async def test_work_that_a_claim_brings_after_stop_is_handed_back():
    given, claimed = source(work(3)), asyncio.Event()
    claim = given.claim

    async def slow(wanted, holding):
        claimed.set()
        await asyncio.sleep(0.05)
        return await claim(wanted, holding)

    given.claim = slow
    http = Scripted()
    engine = Engine(given, http, options())
    async with running(engine):
        await claimed.wait()
        engine.stop(10)

    assert http.calls == []
    assert [one.left for one in given.released] == [3]


async def test_a_cancelled_run_still_records_what_was_answered():
    def script(id, body):
        return GOOD if id.startswith("b:1:") else asyncio.sleep(600)

    given = source(work(4))
    engine = Engine(given, Scripted(script), options(flush_seconds=600))
    task = asyncio.create_task(engine.run())
    await until(lambda: engine._recorder.unrecorded_bytes)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [result.entry.index for result in given.results] == [0]
    assert [one.left for one in given.released] == [3]


# One batch


async def test_the_end_of_a_batch_leaves_the_others_alone():
    gate = Gate()
    given = source(work(50, batch="over"), work(5, batch="other"))
    http = Scripted(lambda id, body: gate(id, body))
    engine = Engine(given, http, options(concurrency=100))
    engine.limits["batch", "over"] = 10
    async with running(engine):
        await until(lambda: engine.in_flight == 15)
        engine.end_batch("over", 60)
        gate.open.set()

    assert len(http.calls) == 15
    assert len(given.results) == 15
    assert [(one.batch, one.left) for one in given.released] == [("over", 40)]
    assert len(given.finished) == 1


async def test_a_batch_that_ends_while_it_hangs_is_aborted_after_the_grace():
    gate = Gate()
    given = source(work(3))
    engine = Engine(given, Scripted(lambda id, body: gate(id, body)), options())
    async with running(engine):
        await until(lambda: engine.in_flight == 3)
        engine.end_batch("b", 0.02)
        await until(lambda: given.released)

    assert given.results == []


async def test_work_of_a_batch_that_ended_during_its_claim_is_handed_back():
    given, claimed = source(work(3)), asyncio.Event()
    claim = given.claim

    async def slow(wanted, holding):
        works = await claim(wanted, holding)
        claimed.set()
        await asyncio.sleep(0.05)
        return works

    given.claim = slow
    http = Scripted()
    engine = Engine(given, http, options())
    async with running(engine):
        await claimed.wait()
        engine.end_batch("b", 10)
        await until(lambda: given.released)
        given.waiting.append(work(2))  # resumed: the same batch runs again
        await until(lambda: len(given.results) == 2)

    assert len(http.calls) == 2


async def test_when_the_window_closes_no_call_begins_and_the_rest_is_handed_back():
    async def script(id, body):
        await asyncio.sleep(0.01)
        return GOOD

    given = source(work(10_000, window=0.1))
    http = Scripted(script)

    await run(given, http, concurrency=4)

    assert 0 < len(given.results) < 10_000
    assert len(given.results) == len(http.calls)
    assert [one.left for one in given.released] == [10_000 - len(given.results)]


async def test_a_batch_that_ends_with_every_line_answered_is_finished_not_released():
    gate, given = Gate(), source(work(3))
    engine = Engine(given, Scripted(lambda id, body: gate(id, body)), options())
    async with running(engine):
        await until(lambda: engine.in_flight == 3)
        engine.end_batch("b", 60)
        gate.open.set()

    assert len(given.finished) == 1
    assert given.released == []


# Fencing


async def test_a_dropped_work_is_forgotten():
    def script(id, body):
        return GOOD if id.startswith("b:1:") else asyncio.sleep(600)

    lost = work(4)
    given = source(lost)
    http = Scripted(script)
    engine = Engine(given, http, options(flush_seconds=600))
    async with running(engine):
        await until(lambda: engine._recorder.unrecorded_bytes)
        engine.drop(lost.key)
        engine.drop(lost.key)
        await until(lambda: http.in_flight == 0)
        assert engine.in_flight == 0
        assert engine._recorder.unrecorded_bytes == 0

    assert (given.results, given.released, given.finished) == ([], [], [])


async def test_an_answer_that_comes_in_spite_of_the_drop_is_forgotten_too():
    async def stubborn(id, body):
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            return GOOD

    given = source(work(4))
    http = Scripted(stubborn)
    engine = Engine(given, http, options())
    async with running(engine):
        await until(lambda: http.in_flight == 4)
        engine.drop(next(iter(engine.held)).key)

    assert engine._recorder.unrecorded_bytes == 0
    assert (given.results, given.released) == ([], [])


async def test_a_work_that_the_source_refuses_is_dropped():
    lost, kept = work(50, batch="lost"), work(50, batch="kept")
    given = source(lost, kept)
    given.fenced.add(lost.key)

    await run(given, Scripted(), concurrency=8)

    assert list(given.recorded) == [kept.key]
    assert given.released == []


async def test_a_shard_claimed_anew_replaces_the_one_still_held():
    gate = Gate()
    old = work(3, batch="b")
    given = source(old)
    http = Scripted(lambda id, body: gate(id, body))
    engine = Engine(given, http, options(concurrency=8))
    async with running(engine):
        await until(lambda: engine.in_flight == 3)
        new = Work(old.key, "b", "p", old.deadline, old.target, work(2).requests)
        given.waiting.append(new)
        await until(lambda: list(engine.held) == [new])
        await until(lambda: engine.in_flight == http.in_flight == 2)  # the old calls are aborted
        gate.open.set()

    assert sorted(result.entry.index for result in given.results) == [0, 1]
    assert given.finished == [old.key]


async def test_a_work_that_is_dropped_while_it_is_recorded_is_not_handed_back():
    given, lost, recording, go_on = source(), work(2), asyncio.Event(), asyncio.Event()

    async def slow(work, results, finished):
        recording.set()
        await go_on.wait()
        return True

    given.record = slow
    given.waiting.append(lost)
    http = Scripted(lambda id, body: GOOD if id == "b:1:1" else asyncio.sleep(600))
    engine = Engine(given, http, options())
    async with running(engine):
        await recording.wait()
        engine.end_batch("b", 0)
        await until(lambda: not engine.in_flight)
        engine.drop(lost.key)
        go_on.set()

    assert given.released == []


async def test_nothing_of_a_work_that_is_gone_reaches_the_source():
    """Its shard may be held anew, under the same key."""
    lost = work(0)
    lost.gone = True
    given = source()

    settled = await Recorder(given, options(), time.monotonic, lambda: None).settle(lost)

    assert settled is Settled.HELD
    assert (given.recorded, given.finished, given.released) == ({}, [], [])
