"""The engine keeps to the pace of each upstream and model, and takes no more lines than that can use."""

import asyncio
import itertools
from dataclasses import replace

from batches.executor.engine import Engine
from batches.executor.pace import START
from batches.executor.transport import Answer, Kind, TransportError
from tests.batches.executor.scripted import (
    TARGET,
    Scripted,
    options,
    run,
    running,
    source,
    until,
    work,
)

GOOD = Answer(200, {}, b'{"usage":{"completion_tokens":3}}')
FULL = Answer(429, {}, b'{"error":{"message":"too many"}}')
UNKNOWN = replace(TARGET, learnt=None)
OTHER_MODEL = replace(UNKNOWN, model="other")


def hanging(until_set):
    async def script(id, body):
        await until_set.wait()
        await asyncio.sleep(0.01)
        return GOOD

    return script


async def test_an_unknown_upstream_is_met_with_few_calls_and_then_more():
    gate = asyncio.Event()
    http = Scripted(hanging(gate))
    engine = Engine(source(work(1500, target=UNKNOWN)), http, options(concurrency=100))

    async with running(engine):
        await until(lambda: engine.in_flight)
        await asyncio.sleep(0.05)
        assert engine.in_flight == START
        gate.set()

    assert http.most_in_flight > START


async def test_each_model_of_an_upstream_has_a_pace_of_its_own():
    gate = asyncio.Event()
    given = source(
        work(300, target=UNKNOWN, owner="a"), work(300, target=OTHER_MODEL, owner="b", batch="c")
    )
    engine = Engine(given, Scripted(hanging(gate)), options(concurrency=100))

    async with running(engine):
        await until(lambda: engine.in_flight == 2 * START)
        gate.set()


async def test_what_was_learnt_is_where_an_engine_begins_and_what_it_tells():
    gate = asyncio.Event()
    target = replace(TARGET, learnt=40)
    engine = Engine(source(work(3000, target=target)), Scripted(hanging(gate)), options())

    async with running(engine):
        await until(lambda: engine.in_flight == 40)
        assert engine.learnt == {}
        gate.set()

    assert engine.learnt[target.place] >= 40


async def test_a_server_with_little_room_is_hardly_asked_in_vain():
    room = 5
    numbers = itertools.count()

    async def script(id, body):
        next(numbers)
        if http.in_flight > room:
            return FULL
        await asyncio.sleep(0.002)
        return GOOD

    http = Scripted(script)
    given = source(work(1000, target=UNKNOWN))

    await run(given, http)

    assert len(given.results) == 1000
    assert all(result.entry.completed for result in given.results)
    assert next(numbers) <= 1200


async def test_large_answers_are_asked_for_no_faster_than_memory_bears():
    large = Answer(200, {}, b'{"n":"%b"}' % (b"x" * 1000))
    http = Scripted(lambda id, body: large)
    begun = iter(range(1000))

    def script(id, body):
        if next(begun) == 50:  # by now their size is known
            http.most_in_flight = 0
        return large

    http.script = script
    given = source(work(400))

    await run(given, http, concurrency=40, max_arriving_bytes=20 * 1010)

    assert len(given.results) == 400
    assert http.most_in_flight == 20


async def test_answers_that_are_too_large_count_as_the_largest():
    begun = iter(range(1000))

    def script(id, body):
        if next(begun) == 50:
            http.most_in_flight = 0
        return TransportError(Kind.TOO_LARGE)

    http = Scripted(script)
    given = source(work(200))

    await run(given, http, concurrency=40, max_answer_bytes=1000, max_arriving_bytes=5000)

    assert {result.entry.cause for result in given.results} == {"response_too_large"}
    assert http.most_in_flight == 5


async def test_refused_lines_wait_without_a_slot():
    refused = {f"b:{line}:1" for line in range(1, 6)}
    http = Scripted(lambda id, body: FULL if id in refused else GOOD)
    given = source(work(50))

    engine = await run(given, http, backoff_seconds=0.2, max_backoff_seconds=0.2, concurrency=10)

    assert all(result.entry.completed for result in given.results)
    assert engine.in_flight == 0


def full(engine: Engine) -> set[tuple[int, str]]:
    return {place for place, lines in engine.room.items() if lines <= 0}


async def test_lines_that_only_their_batch_holds_back_do_not_fill_an_upstream():
    gate = asyncio.Event()
    given = source(work(400, target=UNKNOWN))
    engine = Engine(given, Scripted(hanging(gate)), options())
    engine.limits["batch", "b"] = 2

    async with running(engine):
        await until(lambda: engine.in_flight == 2)
        assert full(engine) == set()
        del engine.limits["batch", "b"]
        await until(lambda: engine.in_flight == START)
        assert full(engine) == {UNKNOWN.place}
        gate.set()


async def test_lines_of_an_upstream_at_its_pace_are_not_hoarded_but_another_is_served():
    gate = asyncio.Event()
    slow = [work(20, batch=f"s{n}", target=UNKNOWN) for n in range(40)]
    quick = work(20, batch="q", target=replace(TARGET, key=2))

    async def script(id, body):
        if not id.startswith("q"):
            await gate.wait()
        return GOOD

    given = source(*slow)
    claim = given.claim

    async def leave_the_full(wanted, holding):
        if TARGET.key in {key for key, _ in full(engine)}:
            return [given.waiting.pop()] if quick in given.waiting else []
        return await claim(wanted, holding)

    given.claim = leave_the_full
    engine = Engine(given, Scripted(script), options())
    async with running(engine):
        await until(lambda: full(engine) == {UNKNOWN.place})
        held = sum(one.unstarted for one in engine.held)
        assert held <= options().concurrency + options().reserve
        given.waiting.append(quick)
        await until(lambda: quick.key in given.finished)
        gate.set()
    assert len(given.finished) == 41
