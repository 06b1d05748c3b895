"""Four workers on one database: limits hold over all of them, also while they die, and nobody waits behind somebody
else's big batch. Counted at the upstream.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest

from tests.support.fleet import PROMISED_SECONDS, Fleet, Worker
from tests.support.processes import wait_for

pytestmark = pytest.mark.e2e
WORKERS = 4  # with two engines each
LINES = 600
LIMIT = 25  # an engine of these tests makes ten calls at once
BUSY_LINES = 8_000


@pytest.fixture
def workers(fleet: Fleet) -> Iterator[Callable[[], list[Worker]]]:
    """Starts all of them; their settings are those of the moment."""
    with ExitStack() as stack:

        def start() -> list[Worker]:
            workers = [stack.enter_context(fleet.worker()) for _ in range(WORKERS)]
            hosts = "SELECT count(*) FROM batches_host"
            wait_for(
                lambda: fleet.installation.execute(hosts)[0][0] == WORKERS, "every worker to beat"
            )
            return workers

        yield start


def _wait_for_sharing(fleet: Fleet, limited: str, engines: int) -> None:
    sharing = (
        "SELECT count(DISTINCT engine_id) FROM batches_share "
        f"WHERE {limited} IS NOT NULL AND slots > 0"
    )
    wait_for(
        lambda: fleet.installation.execute(sharing)[0][0] >= engines,
        f"{engines} engines to share the limit",
    )


@pytest.mark.parametrize(
    ("limited", "submissions"),
    [
        ("batch_id", [("--max-concurrency", str(LIMIT))]),
        ("upstream_id", [("--account", "first"), ("--account", "second")]),
    ],
)
def test_a_limit_holds_over_all(
    fleet: Fleet,
    workers: Callable[[], list[Worker]],
    limited: str,
    submissions: Sequence[tuple[str, str]],
) -> None:
    fleet.upstream.set(latency=2.0)  # so that nothing is over before it is seen that they share
    fleet.installation.environment["BATCH_LEASE_SECONDS"] = "60"  # nobody dies
    if limited == "upstream_id":
        fleet.installation.environment["UPSTREAM_LIMIT"] = str(LIMIT)
    workers()
    batches = [fleet.submit(LINES, *options) for options in submissions]
    _wait_for_sharing(fleet, limited, 3)
    fleet.upstream.set(latency=0.2)
    for batch in batches:
        batch.wait_until("completed")
        batch.assert_whole()
    assert fleet.upstream.called() == LINES * len(batches)
    assert fleet.upstream.stats()["max_in_flight"] <= LIMIT


def test_a_limit_holds_while_workers_die(fleet: Fleet, workers: Callable[[], list[Worker]]) -> None:
    """What a dead engine may still have in flight is nobody else's until its lease has ended."""
    fleet.upstream.set(latency=0.25)
    started = workers()
    batch = fleet.submit(2 * LINES, "--max-concurrency", str(LIMIT))
    for worker, results in zip(started[1:], (50, 300, 550), strict=True):
        batch.wait_for_results(results)
        worker.signal(signal.SIGKILL)
    batch.wait_until("completed", 2 * PROMISED_SECONDS)
    batch.assert_whole()
    assert fleet.upstream.stats()["max_in_flight"] <= LIMIT


def test_a_small_batch_is_done_while_a_big_one_runs(
    fleet: Fleet, workers: Callable[[], list[Worker]]
) -> None:
    """Every slot of every engine is taken by the big one when the small one comes."""
    fleet.upstream.set(latency=0.5)
    workers()
    big = fleet.submit(BUSY_LINES)
    wait_for(lambda: fleet.upstream.stats()["in_flight"] > LIMIT, "several engines to be busy")
    small = fleet.submit(10, "--external-user", "somebody-else")
    small.wait_until("completed", 30)
    assert big.status == "in_progress"
    fleet.installation.manage("cancel_batch", big.id, "--reason", "test")
    big.wait_until("cancelled")
    small.assert_whole()
    big.assert_whole("cancelled", failed=BUSY_LINES - big.row("completed")[0])
