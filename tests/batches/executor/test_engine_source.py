"""Whatever fails beside a call costs no result: a source that is away, refuses or is slow, and bugs of our own."""

import asyncio
import logging
import time

import pytest

from batches.executor.engine import Engine, Target
from batches.executor.lines import Request, Result
from batches.executor.recorder import Recorder
from batches.executor.transport import Answer
from batches.executor.work import Line, Options
from tests.batches.executor.scripted import (
    Scripted,
    options,
    run,
    running,
    source,
    until,
    work,
)

GOOD = Answer(200, {}, b"{}")


# A source that is away


async def test_results_wait_while_they_cannot_be_recorded(caplog):
    given = source(work(40))
    given.failing.add("record")
    engine = Engine(given, Scripted(), options())
    async with running(engine):
        await until(lambda: "not recorded yet" in caplog.text)
        assert given.results == []
        given.failing.clear()

    assert sorted(result.entry.index for result in given.results) == list(range(40))
    assert len(given.finished) == 1


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        # Four times as many answers as calls may be in flight: what a power cut repeats stays bounded.
        ({"concurrency": 4}, 18),
        # And no more bytes than the memory may hold.
        ({"concurrency": 50, "max_unrecorded_bytes": 1000}, 20),
    ],
    ids=["answers", "bytes"],
)
async def test_no_call_begins_while_too_much_waits_to_be_recorded(changes, most):
    given, http = source(work(100)), Scripted()
    given.failing.add("record")
    engine = Engine(given, http, options(**changes))
    engine.limits["batch", "b"] = 2
    async with running(engine):
        await until(lambda: engine._recorder.is_full() and not http.in_flight)
        calls = len(http.calls)
        await asyncio.sleep(0.05)
        assert len(http.calls) == calls <= most
        given.failing.clear()

    assert len(given.results) == 100


async def test_a_source_that_fails_at_everything_loses_nothing():
    given = source(work(20, window=0.2), work(20, batch="other"))
    given.failing.update({"claim", "record", "release"})
    engine = Engine(given, Scripted(), options(concurrency=2, idle_seconds=5))
    async with running(engine):
        for name in ("claim", "record", "release"):
            await asyncio.sleep(0.03)
            given.failing.discard(name)
        await until(lambda: sum(map(len, given.recorded.values())) >= 20)
        engine.stop(1)

    assert len(given.finished) + len(given.released) == 2


async def test_results_are_recorded_before_the_work_is_finished():
    def script(id, body):
        return GOOD if int(id.split(":")[1]) <= 10 else asyncio.sleep(600)

    given = source(work(12))
    engine = Engine(given, Scripted(script), options())
    async with running(engine):
        await until(lambda: len(given.results) == 10)
        assert given.finished == []
        engine.stop(0)


async def test_long_results_are_recorded_without_waiting_for_the_clock():
    def script(id, body):
        return GOOD if int(id.split(":")[1]) <= 3 else asyncio.sleep(600)

    given = source(work(4))
    engine = Engine(given, Scripted(script), options(flush_seconds=600, flush_bytes=300))
    async with running(engine):
        await until(lambda: len(given.results) == 3)
        engine.stop(0)


def test_a_work_without_results_is_not_recorded_while_another_s_are():
    """Else the loop would turn and turn, doing nothing, for as long as a commit lasts."""
    recorder = Recorder(source(), options(), time.monotonic, lambda: None)
    busy, spare = work(3), work(3)
    recorder.add(
        busy, Result.of(busy.requests[0], b"{}", attempts=1, status=None, cause="x", latency_ms=1)
    )
    busy.settling = True

    assert recorder.due([busy, spare], time.monotonic() + 60) == []


def test_calls_wait_while_four_times_as_many_answers_as_may_be_in_flight_do():
    limits = options(concurrency=10, flush_seconds=600)
    recorder = Recorder(source(), limits, lambda: 0.0, lambda: None)
    busy = work(100)

    def answer(count):
        for _ in range(count):
            request = busy.requests.popleft()
            recorder.add(
                busy,
                Result.of(request, b"{}", attempts=1, status=None, cause="x", latency_ms=1),
            )

    answer(39)
    assert not recorder.is_full()
    answer(1)
    assert recorder.is_full()
    assert recorder.due([busy], now=0.0) == [busy]

    asyncio.run(recorder.settle(busy))
    assert not recorder.is_full()


def test_no_call_begins_while_the_memory_is_full_however_quick_the_source_is():
    limits = options(concurrency=4, max_unrecorded_bytes=1000)
    recorder = Recorder(source(), limits, lambda: 0.0, lambda: None)
    busy = work(10)
    for request in list(busy.requests)[:6]:
        result = Result.of(request, b"." * 200, attempts=1, status=None, cause="x", latency_ms=1)
        recorder.add(busy, result)
    assert recorder.is_full()


async def test_quick_works_are_claimed_several_at_a_time_and_recorded_once(monkeypatch):
    # Works that are done wait for their commits, and a moment later are too many for one that is not.
    monkeypatch.setattr(Options, "max_unrecorded", 2000)
    given = source(*(work(50) for _ in range(40)))
    patient = {"flush_seconds": 600, "ahead_seconds": 600}
    await run(given, Scripted(), concurrency=40, **patient)

    assert len(given.finished) == given.commits == 40
    wanted = [wanted for wanted, _ in given.claims]
    assert wanted[0] < 50 < 5 * 40 < max(wanted)


async def test_works_of_a_paused_upstream_stay_until_the_pause_is_known():
    given = source(work(10))
    given.failing.add("pause")
    http = Scripted(lambda id, body: Answer(401, {}, b"{}"))
    engine = Engine(given, http, options(concurrency=2))
    async with running(engine):
        await until(lambda: http.calls and not engine.in_flight)
        await asyncio.sleep(0.05)
        assert len(engine.held) == 1
        assert len(http.calls) <= 2
        given.failing.clear()

    assert len(given.paused) == 1
    assert [one.left for one in given.released] == [10]


async def test_an_upstream_that_was_paused_is_called_again_when_its_work_comes_back():
    refused = True
    http = Scripted(lambda id, body: Answer(401, {}, b"{}") if refused else GOOD)
    given = source(work(3))
    engine = Engine(given, http, options(idle_seconds=5))
    async with running(engine):
        await until(lambda: given.released and not engine.in_flight)
        refused = False
        given.waiting.append(work(3))
        await until(lambda: len(given.results) == 3)
        engine.stop(0)


async def test_stop_does_not_wait_for_a_pause_that_cannot_be_told():
    given = source(work(10))
    given.failing.add("pause")
    http = Scripted(lambda id, body: Answer(401, {}, b"{}"))
    engine = Engine(
        given, http, options(max_source_backoff_seconds=600, source_backoff_seconds=600)
    )
    async with running(engine):
        await until(lambda: http.calls and not engine.in_flight)
        engine.stop(0)

    assert [one.left for one in given.released] == [10]


# Bugs


async def test_a_bug_costs_one_line(caplog):
    def script(id, body):
        return RuntimeError("boom") if id.startswith("b:3:") else GOOD

    secret = [b'{"prompt":"canary %d"}' % n for n in range(5)]
    given = source(work(5, bodies=secret))

    await run(given, Scripted(script))

    causes = {result.entry.index: result.entry.cause for result in given.results}
    assert causes == {0: "", 1: "", 2: "internal_error", 3: "", 4: ""}
    assert "boom" in caplog.text
    assert "canary" not in caplog.text


def test_nothing_that_may_be_logged_shows_a_prompt_or_a_key():
    target = Target(1, "http://upstream.invalid/", {"authorization": "Bearer canary"}, 5)
    shown = repr(target) + repr(work(target=target, bodies=[b'"canary"']))
    shown += repr(Line(Request(0, 1, b'"a"', b'"canary"')))

    assert "canary" not in shown


async def test_a_bug_in_a_side_task_ends_the_run_and_loses_no_result():
    given = source(work(3))
    claim = given.claim

    async def once(wanted, holding):
        if given.claims:
            return None  # not what was agreed
        return await claim(wanted, holding)

    given.claim = once
    engine = Engine(given, Scripted(), options(flush_seconds=600))
    with pytest.raises(TypeError):
        await asyncio.wait_for(engine.run(), 10)

    assert sorted(result.entry.index for result in given.results) == [0, 1, 2]


async def test_a_failing_claim_is_tried_again(caplog):
    caplog.set_level(logging.WARNING)
    given = source(work(3))
    given.failing.add("claim")
    engine = Engine(given, Scripted(), options(idle_seconds=5))
    async with running(engine):
        await until(lambda: caplog.text.count("No work could be claimed") > 2)
        given.failing.clear()
        await until(lambda: given.finished)
        engine.stop(0)

    assert len(given.results) == 3
