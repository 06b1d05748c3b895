"""A worker that stops for a while: short of its lease nothing happens, past it the worker has lost its shards."""

import signal
from collections.abc import Callable

import pytest

from tests.support.fleet import PROMISED_SECONDS, SHARD_LINES, Batch, Fleet, Worker, stopped_move
from tests.support.processes import wait_for

pytestmark = pytest.mark.e2e
SHARDS = 2
LINES = SHARDS * SHARD_LINES
IN_FLIGHT = 20  # two engines of ten


def _engines(fleet: Fleet) -> set[str]:
    return {row[0] for row in fleet.installation.execute("SELECT id FROM batches_engine")}


def _is_taken_over(batch: Batch) -> bool:
    return batch.shards("epoch >= 2") == SHARDS


def _is_completed(batch: Batch) -> bool:
    return batch.status == "completed"


@pytest.mark.parametrize("has_gone_on", [_is_taken_over, _is_completed], ids=lambda f: f.__name__)
def test_a_worker_that_thaws_after_its_lease_changes_nothing(
    fleet: Fleet, has_gone_on: Callable[[Batch], bool]
) -> None:
    fleet.upstream.set(latency=1.0)
    with fleet.worker() as zombie:
        batch = fleet.submit(LINES)
        wait_for(lambda: batch.shards("state = 'running'") == SHARDS, "every shard to be claimed")
        batch.wait_for_results(10)
        with fleet.installation.between_writes():
            zombie.signal(signal.SIGSTOP)
        frozen, started, recorded = _engines(fleet), fleet.upstream.called(), batch.recorded()
        with fleet.worker() as worker:
            wait_for(lambda: has_gone_on(batch), "the other worker to go on", PROMISED_SECONDS)
            zombie.signal(signal.SIGCONT)
            wait_for(lambda: not frozen & _engines(fleet), "the frozen turns to end")
            batch.wait_until("completed")
            worker.signal(signal.SIGKILL)
        batch.assert_whole()
        # What the zombie had not committed, and had no answer for, was called once more by the other one.
        assert fleet.upstream.called() - LINES <= min(started - recorded, IN_FLIGHT)
        before = batch.digest()
        _works_on(fleet)
    batch.assert_whole()
    assert batch.digest() == before


def test_a_finaliser_that_freezes_in_its_transaction_is_replaced(fleet: Fleet) -> None:
    """PostgreSQL ends a transaction whose process is silent. On SQLite everybody waits for the thaw."""
    with fleet.worker() as zombie:
        with stopped_move(fleet.installation, "completed", counting=30_000_000) as let_go:
            batch = fleet.submit(LINES)
            wait_for(lambda: batch.in_step("finalizing"), "the batch to be finalizing")
            zombie.signal(signal.SIGSTOP)
            let_go()
            with fleet.worker():
                if fleet.installation.is_sqlite:
                    zombie.signal(signal.SIGCONT)
                batch.wait_until("completed")
                batch.assert_whole()
                before = batch.digest()
                zombie.signal(signal.SIGCONT)
        _works_on(fleet)
    batch.assert_whole()
    assert batch.digest() == before
    assert len(fleet.upstream.calls(batch)) == LINES


def _works_on(fleet: Fleet) -> None:
    """The thawed worker is as good as any."""
    fleet.upstream.set(latency=0)
    batch = fleet.submit(LINES)
    batch.wait_until("completed")
    batch.assert_whole()


def test_a_freeze_shorter_than_the_lease_brings_no_second_owner(fleet: Fleet) -> None:
    fleet.upstream.set(latency=1.0)
    # No machine is so slow that all this outlasts it.
    fleet.installation.environment["BATCH_LEASE_SECONDS"] = "600"
    with fleet.worker() as worker:
        batch = fleet.submit(20)
        wait_for(lambda: batch.shards("state = 'running'"), "the shard to be claimed")
        with fleet.installation.between_writes():
            worker.signal(signal.SIGSTOP)
        with fleet.worker() as other:
            _look_around(fleet, other)
            worker.signal(signal.SIGCONT)
            batch.wait_until("completed")
    batch.assert_whole()
    assert batch.shards("epoch = 1") == 1
    assert len(fleet.upstream.calls(batch)) == 20


def _look_around(fleet: Fleet, worker: Worker) -> None:
    """Wait until the worker has had the time to take what is not somebody else's: another batch."""
    small: Batch = fleet.submit(1, "--account", "other")
    small.wait_until("completed")
