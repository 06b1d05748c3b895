"""Asked to stop, a worker lets its calls end, hands its shards back, and leaves nothing behind."""

import os
import signal
from collections.abc import Callable

import pytest

from tests.support.fleet import SHARD_LINES, Fleet, Worker
from tests.support.processes import wait_for

pytestmark = pytest.mark.e2e
LINES = 2 * SHARD_LINES


def _ask(worker: Worker) -> None:
    worker.process.terminate()


def _ask_everybody(worker: Worker) -> None:
    worker.signal(signal.SIGTERM)


def _ask_everybody_twice(worker: Worker) -> None:
    worker.signal(signal.SIGTERM)
    worker.signal(signal.SIGTERM)


@pytest.mark.parametrize(
    "ask", [_ask, _ask_everybody, _ask_everybody_twice], ids=lambda f: f.__name__
)
def test_the_next_worker_goes_on_at_once(fleet: Fleet, ask: Callable[[Worker], None]) -> None:
    fleet.upstream.set(latency=1.0)
    # Nobody could go on within the time of this test if a lease had to lapse.
    fleet.installation.environment |= {"BATCH_LEASE_SECONDS": "600", "BATCH_DRAIN_SECONDS": "60"}
    with fleet.worker() as worker:
        batch = fleet.submit(LINES)
        batch.wait_for_results(10)
        ask(worker)
        wait_for(worker.is_gone, "every process to end")
        assert worker.process.returncode == 0
    assert batch.shards("state = 'running'") == 0
    assert fleet.installation.execute("SELECT id FROM batches_engine") == []
    assert fleet.installation.execute("SELECT id FROM batches_host") == []
    with fleet.worker():
        batch.wait_until("completed")
    batch.assert_whole()
    assert fleet.upstream.called() == LINES


def test_calls_that_do_not_end_in_time_are_aborted_and_handed_back(fleet: Fleet) -> None:
    fleet.upstream.set(latency=600.0)
    fleet.installation.environment |= {"BATCH_LEASE_SECONDS": "600", "BATCH_DRAIN_SECONDS": "1"}
    with fleet.worker() as worker:
        batch = fleet.submit(LINES)
        wait_for(lambda: batch.shards("state = 'running'") == 2, "both shards to be claimed")
        wait_for(lambda: fleet.upstream.stats()["in_flight"] >= 10, "calls in flight")
        os.kill(worker.process.pid, signal.SIGINT)
        wait_for(worker.is_gone, "every process to end")
        assert worker.process.returncode == 0
    assert batch.shards("state = 'waiting'") == 2
    wait_for(lambda: fleet.upstream.stats()["in_flight"] == 0, "the calls to be hung up")
    hung_up = fleet.upstream.called()
    fleet.upstream.set(latency=0)
    with fleet.worker():
        batch.wait_until("completed")
    batch.assert_whole()
    assert fleet.upstream.called() == hung_up + LINES
