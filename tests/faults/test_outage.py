"""F41, F43, F51: an upstream that is down, or refuses our key: no line fails, it is left in peace, and all goes on."""

import time
from collections.abc import Iterator

import pytest

from accounts.models import Account
from batches import claims, results, upstreams
from batches.execution import run_turn
from batches.executor.outage import Breaker
from batches.executor.work import Options
from batches.models import Status, Upstream
from batches.verification import verify
from tests.batches.executor.scripted import Call, reply
from tests.batches.factories import make_engine, start
from tests.batches.test_execution import model_server
from tests.support.fleet import Fleet

LINES = 400
OUTAGE_SECONDS = 20
ENGINES, IN_FLIGHT = 4, 10  # of each: two workers with two
TEN_MINUTES = 600
MOST_PROBES = 26  # in ten minutes, by one engine: after 1, 2, 4, 8 and 16 s, then every 30 s


@pytest.mark.e2e
@pytest.mark.parametrize("is_there", [True, False], ids=["cuts off", "is not there"])
def test_an_outage_fails_no_line_and_causes_no_storm(fleet: Fleet, is_there: bool) -> None:
    fleet.upstream.set(latency=1.0)
    with fleet.worker(), fleet.worker():
        batch = fleet.submit(LINES)
        batch.wait_for_results(40)
        if is_there:
            fleet.upstream.set(broken=True, latency=0.3)
            before = fleet.upstream.called()
            time.sleep(OUTAGE_SECONDS)  # so long is the outage
            called = fleet.upstream.called() - before
            # Each of the last answers to come may begin the row of failures anew; then there are but probes.
            at_first = (IN_FLIGHT + 1) * Options().outage_failures
            assert called <= ENGINES * (at_first + MOST_PROBES)
            assert batch.status == "in_progress"
            fleet.upstream.set(broken=False)
        else:
            fleet.upstream.go_away()
            time.sleep(OUTAGE_SECONDS)
            assert batch.status == "in_progress"
            fleet.upstream.come()
        batch.wait_until("completed")
    batch.assert_whole()


def _probes(seconds: float) -> Iterator[float]:
    """When an upstream that is down for so long is called, by the clock of one engine that has lines for it."""
    options, now = Options(), 0.0
    breaker = Breaker(
        1,
        failures=options.outage_failures,
        probe_seconds=options.probe_seconds,
        max_probe_seconds=options.max_probe_seconds,
        blame_seconds=options.blame_seconds,
    )
    for _ in range(options.outage_failures):
        assert not breaker.failed(_Line(), now, now)
    while now < seconds:
        if breaker.allows(now):
            line = _Line()
            breaker.started(line)
            assert not breaker.failed(line, now, now), "no line is to blame for an outage"
            breaker.ended(line)
            yield now
        now += options.tick_seconds


class _Line:
    blamed_at: float | None = None


def test_ten_minutes_of_an_outage_are_a_few_probes() -> None:
    probes = list(_probes(TEN_MINUTES))
    assert len(probes) <= MOST_PROBES
    # Nor is anybody kept waiting for long when it is back.
    assert TEN_MINUTES - probes[-1] <= Options().max_probe_seconds


KEY = "sk-right"


@pytest.mark.django_db(transaction=True)
def test_a_refused_key_pauses_the_upstream_at_once_and_a_new_one_resumes_it(
    account: Account,
) -> None:
    def script(call: Call) -> bytes:
        right = call.headers["authorization"] == f"Bearer {KEY}"
        return reply() if right else reply({"error": {"message": "no such key"}}, status=401)

    with model_server(script) as server:
        batch = start(account, LINES)
        run_turn(lambda: False)
        upstream = Upstream.objects.get()
        assert upstream.paused_at is not None
        assert len(server.calls) <= Options().concurrency // 10
        assert claims.claim_shards(make_engine(), LINES, claims.Hand()) == []

        upstream.api_key = KEY
        upstream.save()
        assert upstreams.resume_corrected(upstream)
        run_turn(lambda: False)

    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert (batch.status, batch.completed, verify(batch)) == (Status.COMPLETED, LINES, [])
