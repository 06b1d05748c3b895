"""SIGKILL in every stage of a batch: it ends complete, without an operator, within the promised time."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.support.fleet import SHARD_LINES, Batch, Fleet, Worker, kill, stopped_move
from tests.support.processes import wait_for

pytestmark = pytest.mark.e2e
LINES = 2 * SHARD_LINES
IN_FLIGHT = 20  # two engines of ten


@pytest.mark.parametrize(
    ("stage", "kept_from"), [("validating", "in_progress"), ("finalizing", "completed")]
)
def test_a_worker_killed_in_a_step_loses_nothing(fleet: Fleet, stage: str, kept_from: str) -> None:
    with fleet.worker() as worker:
        with stopped_move(fleet.installation, kept_from):
            batch = fleet.submit(LINES)
            wait_for(lambda: batch.in_step(stage), f"the batch to be {stage}")
            kill(worker.pids("worker-control"))
            assert batch.status == stage
        batch.wait_until("completed")
    batch.assert_whole()
    assert fleet.upstream.called() == LINES


def test_a_worker_killed_between_claim_and_first_call(fleet: Fleet) -> None:
    fleet.upstream.go_away()
    with fleet.worker() as worker:
        batch = fleet.submit(LINES)
        wait_for(lambda: batch.shards("state = 'running'"), "a claimed shard")
        kill(worker.pids("worker-engine"))
        fleet.upstream.come()
        batch.wait_until("completed")
    batch.assert_whole()
    assert fleet.upstream.called() == LINES


def _kill_engine_workers(worker: Worker) -> None:
    kill(worker.pids("worker-engine"))


def _kill_sentinels(worker: Worker) -> None:
    kill(worker.pids("sentinel"))


def _kill_clusters(worker: Worker) -> None:
    kill(worker.pids("cluster"))


@pytest.mark.parametrize(
    "strike", [_kill_engine_workers, _kill_sentinels, _kill_clusters], ids=lambda f: f.__name__
)
def test_processes_killed_in_mid_calls(fleet: Fleet, strike: Callable[[Worker], None]) -> None:
    fleet.upstream.set(latency=1.0)
    with fleet.worker() as worker:
        batch = fleet.submit(LINES)
        batch.wait_for_results(10)
        strike(worker)
        _ends_with_few_repeats(fleet, batch)


def test_a_killed_runworker_is_replaced_by_a_new_one(fleet: Fleet) -> None:
    fleet.upstream.set(latency=1.0)
    with fleet.worker() as worker:
        batch = fleet.submit(LINES)
        batch.wait_for_results(10)
        worker.kill()
    with fleet.worker():
        _ends_with_few_repeats(fleet, batch)


def test_a_dead_host_is_replaced_by_another(fleet: Fleet) -> None:
    fleet.upstream.set(latency=1.0)
    with fleet.worker() as worker, fleet.worker():
        batch = fleet.submit(LINES)
        batch.wait_for_results(10)
        worker.signal(signal.SIGKILL)
        _ends_with_few_repeats(fleet, batch)


def _ends_with_few_repeats(fleet: Fleet, batch: Batch) -> None:
    """Only lines that were in flight when the processes died are called again."""
    batch.wait_until("completed")
    batch.assert_whole()
    assert fleet.upstream.called() - len(batch.custom_ids) <= IN_FLIGHT


def test_answers_that_were_not_recorded_yet_are_not_asked_for_again(fleet: Fleet) -> None:
    fleet.upstream.set(latency=1.0)
    with fleet.worker(BATCH_SHARD_LINES="200") as worker:
        batch = fleet.submit(400)
        batch.wait_for_results(10)
        with fleet.installation.recording_nothing():
            fleet.upstream.set(latency=0.1)

            def unrecorded() -> int:
                return fleet.upstream.called() - batch.recorded()

            wait_for(lambda: unrecorded() >= 1.5 * IN_FLIGHT, "answers that are not recorded")
            kill(worker.pids("worker-engine"))
        _ends_with_few_repeats(fleet, batch)


def test_every_idle_process_killed_before_the_batch_comes(fleet: Fleet) -> None:
    """In the stock cluster the idle worker in read() held a lock that nobody could take after its death."""
    with fleet.worker() as worker:
        kill(worker.pids("worker", "monitor", "pusher"))
        batch = fleet.submit(LINES)
        batch.wait_until("completed")
    batch.assert_whole()
    assert fleet.upstream.called() == LINES


def test_a_queue_emptied_every_second(fleet: Fleet) -> None:
    fleet.upstream.set(latency=1.0)
    fleet.installation.environment["BATCH_LEASE_SECONDS"] = "60"  # nobody dies
    with fleet.worker():
        batch = fleet.submit(LINES)
        for _ in range(30):
            fleet.installation.execute("DELETE FROM django_q_ormq")
            if batch.status == "completed":
                break
            time.sleep(1)
        # The sweep is a task, too, and may have been lost each time: it is promised from here on.
        batch.wait_until("completed")
    batch.assert_whole()
    assert fleet.upstream.called() == LINES
