"""Which line is called next, and how many at once."""

import asyncio
import math
import time

import pytest

from batches.executor.engine import Engine, Target
from batches.executor.transport import Answer, Kind, TransportError
from tests.batches.executor.scripted import (
    Scripted,
    options,
    reply,
    run,
    running,
    serving,
    source,
    transport,
    until,
    work,
)

GOOD = Answer(200, {}, b"{}")


def by_batch(http):
    return [call.split(":")[0] for call in http.calls]


async def test_every_line_is_called_once_and_recorded_once():
    given, http = source(work(300, batch="x"), work(5, batch="y")), Scripted()

    engine = await run(given, http, concurrency=16)

    expected = {f"x:{n}:1" for n in range(1, 301)} | {f"y:{n}:1" for n in range(1, 6)}
    assert sorted(http.calls) == sorted(expected)
    assert len(given.results) == 305
    assert all(result.entry.completed for result in given.results)
    assert len(given.finished) == 2
    assert given.released == []
    assert (engine.in_flight, list(engine.held)) == (0, [])


async def test_a_work_whose_lines_are_all_answered_is_finished_at_once():
    given = source(work(0))

    await run(given, Scripted())

    assert len(given.finished) == 1


async def test_a_turn_without_patience_still_looks_for_work_once():
    given = source(work(3))

    await run(given, Scripted(), idle_seconds=0)

    assert len(given.results) == 3


async def test_an_owner_with_a_few_lines_does_not_wait_behind_one_with_many():
    given = source(work(500, batch="big", owner="a"), work(10, batch="small", owner="b"))
    http = Scripted()

    await run(given, http, concurrency=4)

    batches = by_batch(http)
    first = batches.index("small")
    last = len(batches) - 1 - batches[::-1].index("small")
    assert last - first <= 2 * 10 + 4


async def test_owners_share_the_slots_however_many_works_they_have():
    hold = asyncio.Event()

    async def script(id, body):
        await hold.wait()
        return GOOD

    given = source(*(work(50, batch=f"a{n}", owner="a") for n in range(5)), work(50, owner="b"))
    given.claim = all_at_once(given)
    http = Scripted(script)
    engine = Engine(given, http, options(concurrency=20))
    async with running(engine):
        await until(lambda: engine.in_flight == 20)
        assert by_batch(http).count("b") == 10
        hold.set()


def all_at_once(given):
    async def claim(wanted, holding):
        works = list(given.waiting)
        given.waiting.clear()
        return works

    return claim


async def test_of_one_owner_the_earliest_deadline_goes_first():
    later, sooner = work(5, batch="later", window=1000), work(5, batch="sooner", window=500)
    given, http = source(later, sooner), Scripted()
    given.claim = all_at_once(given)

    await run(given, http, concurrency=1)

    assert by_batch(http) == ["sooner"] * 5 + ["later"] * 5


async def test_slots_are_full_across_the_border_of_two_shards():
    """The last line of the first shard only ends when lines of the second have been called."""
    seen = asyncio.Event()

    async def script(id, body):
        if id == "first:3:1":
            await seen.wait()
        if id == "second:3:1":
            seen.set()
        return GOOD

    given = source(work(3, batch="first"), work(3, batch="second"))

    await run(given, Scripted(script), concurrency=2)

    assert len(given.results) == 6


async def test_calls_begin_a_few_at_a_time_and_others_follow_on_them():
    given, http = source(work(100)), Scripted()

    await run(given, http, burst=5, burst_seconds=600)

    assert len(given.results) == 100
    assert http.most_in_flight == 5


async def test_another_owners_small_batch_gets_in_while_every_slot_is_taken():
    small = asyncio.Event()

    async def script(id, body):
        if id.startswith("small"):
            small.set()
        elif not small.is_set():
            await asyncio.sleep(0.001)
        return GOOD

    given = source(work(100_000, batch="big", owner="a"), work(1, batch="small", owner="b"))
    http = Scripted(script)
    engine = Engine(given, http, options(concurrency=8))
    async with running(engine):
        await until(small.is_set)
        assert len(http.calls) < 50_000
        engine.stop(0)

    assert (0, frozenset("a")) in given.claims


@pytest.mark.parametrize(
    ("limits", "concurrency", "most"),
    [
        ({}, 5, 5),
        ({("batch", "b"): 3}, 20, 3),
        ({("upstream", 1): 2}, 20, 2),
        ({("batch", "b"): 3, ("upstream", 1): 4, ("batch", "other"): 1}, 20, 3),
    ],
)
async def test_limits_hold_at_the_server(limits, concurrency, most):
    async def script(call):
        await asyncio.sleep(0.002)
        return reply()

    async with serving(script) as upstream, transport() as http:
        given = source(work(60, target=upstream.target()), work(40, target=upstream.target()))
        engine = Engine(given, http, options(concurrency=concurrency))
        engine.limits.update(limits)
        async with running(engine):
            pass

    assert upstream.most_in_flight == most
    assert len(given.results) == 100


async def test_a_limit_can_be_changed_at_any_time():
    hold = asyncio.Event()

    async def script(id, body):
        await hold.wait()
        return GOOD

    engine = Engine(source(work(50)), Scripted(script), options())
    engine.limits["batch", "b"] = 0
    async with running(engine):
        await until(lambda: engine.held)
        assert engine.in_flight == 0
        engine.limits["batch", "b"] = 3
        await until(lambda: engine.in_flight == 3)
        del engine.limits["batch", "b"]
        await until(lambda: engine.in_flight == 50)
        hold.set()


async def test_a_limit_of_one_batch_leaves_the_slots_to_others():
    hold = asyncio.Event()

    async def script(id, body):
        await hold.wait()
        return GOOD

    given = source(work(50, batch="slow"), work(50, batch="fast"))
    given.most = 1
    engine = Engine(given, Scripted(script), options(concurrency=20))
    engine.limits["batch", "slow"] = 2
    async with running(engine):
        await until(lambda: engine.in_flight == 20)
        hold.set()


async def test_a_line_that_waits_holds_no_slot():
    def script(id, body):
        return Answer(429, {"retry-after": "60"}, b"{}") if id.startswith("b:1:") else GOOD

    given, http = source(work(5)), Scripted(script)
    engine = Engine(given, http, options(concurrency=1))
    async with running(engine):
        await until(lambda: len(given.results) == 4)
        assert engine.in_flight == 0
        engine.stop(0)

    assert http.calls.count("b:1:1") == 1
    assert [one.left for one in given.released] == [1]


async def test_no_call_begins_when_the_lease_is_not_proven():
    given, http = source(work(5)), Scripted()
    engine = Engine(given, http, options())
    engine.proven_until = time.monotonic() - 1
    given_now = work(1, batch="held")
    engine._pool.add(given_now)
    async with running(engine):
        await asyncio.sleep(0.05)
        assert (http.calls, given.claims) == ([], [])
        engine.proven_until = math.inf
        await until(lambda: len(given.results) == 6)


async def test_nothing_is_claimed_while_too_much_is_held():
    hold = asyncio.Event()

    async def script(id, body):
        await hold.wait()
        return GOOD

    given = source(work(1, bodies=[b"x" * 1000]), work(1, owner="other"))
    given.most = 1
    engine = Engine(given, Scripted(script), options(max_held_bytes=999))
    async with running(engine):
        await until(lambda: engine.in_flight == 1)
        await asyncio.sleep(0.1)
        assert len(given.claims) == 1
        hold.set()

    assert len(given.results) == 2


async def test_an_upstream_that_is_down_does_not_hold_up_another():
    def script(id, body):
        return TransportError(Kind.UNREACHABLE) if id.startswith("dead") else GOOD

    dead = Target(1, "http://dead.invalid/", {}, 1)
    alive = Target(2, "http://alive.invalid/", {}, 1)
    given = source(
        work(20, batch="dead", target=dead), work(50, batch="alive", owner="p", target=alive)
    )
    engine = Engine(given, Scripted(script), options(concurrency=4))
    async with running(engine):
        await until(lambda: len(given.results) == 50)
        await until(lambda: engine.down == {1})
        engine.stop(0)

    assert [one.batch for one in given.released] == ["dead"]
