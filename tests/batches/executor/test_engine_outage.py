"""An upstream that is away, for a while or for good: what becomes of the lines."""

import asyncio

import pytest

from batches.executor.engine import Engine
from batches.executor.transport import Answer, Kind, TransportError
from tests.batches.executor.scripted import (
    Scripted,
    options,
    reply,
    running,
    serving,
    source,
    transport,
    until,
    work,
)

GOOD = Answer(200, {}, b"{}")


@pytest.mark.parametrize("lines", [10, 300])
async def test_an_outage_fails_no_line_makes_few_calls_and_ends_by_itself(lines):
    down = True

    def script(id, body):
        return TransportError(Kind.BROKEN) if down else GOOD

    given, http = source(work(lines)), Scripted(script)
    engine = Engine(given, http, options(concurrency=64, max_attempts=3))
    async with running(engine):
        await until(lambda: engine.down)
        at_first = len(http.calls)
        await asyncio.sleep(0.5)
        probes = len(http.calls) - at_first
        down = False
        await until(lambda: not engine.down)

    assert at_first <= 64 + 10
    assert 1 <= probes <= 64 + 30
    assert len(given.results) == lines
    assert all(result.entry.completed for result in given.results)


async def test_an_outage_of_a_proxied_upstream_is_seen_in_its_502s():
    down = True
    async with (
        serving(lambda call: reply({}, 502) if down else reply()) as upstream,
        transport() as http,
    ):
        given = source(work(100, target=upstream.target()))
        engine = Engine(given, http, options(concurrency=16, max_attempts=3))
        async with running(engine):
            await until(lambda: len(upstream.calls) > 30)
            assert given.results == []
            down = False

    assert all(result.entry.completed for result in given.results)
    assert len(given.results) == 100


@pytest.mark.parametrize(
    "failure", [TransportError(Kind.BROKEN), TransportError(Kind.TIMEOUT), Answer(502, {}, b"")]
)
async def test_a_lone_line_outlasts_an_outage(failure):
    down = True
    given, http = source(work(1)), Scripted(lambda id, body: failure if down else GOOD)
    engine = Engine(given, http, options(max_attempts=2, blame_seconds=60))
    async with running(engine):
        await until(lambda: len(http.calls) > 8)
        down = False

    (result,) = given.results
    assert result.entry.completed
