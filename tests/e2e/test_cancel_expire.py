"""A batch that is stopped stops calling soon and accounts for every line, whatever has died meanwhile."""

import time

import pytest

from tests.support.fleet import Batch, Fleet
from tests.support.processes import wait_for

pytestmark = pytest.mark.e2e
LINES = 2_000
PROMISED = {"cancelled": 5, "expired": 30}  # seconds until the last call has begun
# On top of that a busy machine may let a beat wait for SQLite's one lock. Unstopped, calls go on for 50 s.
BUSY_SECONDS = 10
COMMANDS = {"cancelled": "cancel_batch", "expired": "expire_batches"}


@pytest.fixture(autouse=True)
def shards_of_a_minute(fleet: Fleet) -> None:
    """An engine that hears of the end only when its shard is done would go on calling for long."""
    fleet.installation.environment["BATCH_SHARD_LINES"] = "1000"


def _end(fleet: Fleet, batch: Batch, end: str) -> float:
    """Cancel or expire the batch; return when that was done, in Unix seconds."""
    fleet.installation.manage(COMMANDS[end], batch.id, "--reason", "test")
    return time.time()


def _assert_accounted(fleet: Fleet, batch: Batch, end: str, asked_at: float) -> None:
    """Some lines have their answer, the others say why not, and no call began too late."""
    completed = batch.row("completed")[0]
    assert 0 < completed < LINES
    batch.assert_whole(end, failed=LINES - completed)
    codes = {result["error"]["code"] for result in batch.results("error")}
    assert codes == {f"batch_{end}"}
    wait_for(lambda: fleet.upstream.stats()["in_flight"] == 0, "the last call to end")
    in_time = asked_at + PROMISED[end] + BUSY_SECONDS
    assert max(call.began_at for call in fleet.upstream.calls(batch)) < in_time


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_no_call_begins_after_the_end(fleet: Fleet, end: str) -> None:
    fleet.upstream.set(latency=0.5)
    with fleet.worker():
        batch = fleet.submit(LINES)
        batch.wait_for_results(10)
        asked_at = _end(fleet, batch, end)
        batch.wait_until(end, 30)
        _assert_accounted(fleet, batch, end, asked_at)
        digest = batch.digest()
        again = fleet.submit(20)
        again.wait_until("completed")
    assert batch.digest() == digest


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_an_upstream_that_hangs_does_not_hold_up_the_end(fleet: Fleet, end: str) -> None:
    fleet.upstream.set(latency=0.2)
    with fleet.worker():
        batch = fleet.submit(LINES, "--max-concurrency", "5")
        batch.wait_for_results(10)
        fleet.upstream.set(latency=600.0)
        wait_for(lambda: fleet.upstream.stats()["in_flight"] == 5, "calls that hang")
        asked_at = _end(fleet, batch, end)
        batch.wait_until(end, 30)
        _assert_accounted(fleet, batch, end, asked_at)


def test_a_cancel_while_every_worker_is_dead_is_done_by_the_next_one(fleet: Fleet) -> None:
    fleet.upstream.set(latency=0.5)
    with fleet.worker() as worker:
        batch = fleet.submit(LINES)
        batch.wait_for_results(10)
        worker.kill()
    asked_at = _end(fleet, batch, "cancelled")
    with fleet.worker():
        batch.wait_until("cancelled")
    _assert_accounted(fleet, batch, "cancelled", asked_at)
