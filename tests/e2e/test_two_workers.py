"""Two workers on one database: limits hold over both, and nobody waits behind somebody else's big batch."""

from collections.abc import Sequence

import pytest

from tests.support.fleet import Fleet
from tests.support.processes import wait_for

pytestmark = pytest.mark.e2e
LINES = 600
LIMIT = 25  # an engine of these tests makes ten calls at once


def test_the_limit_of_a_batch_holds_over_both(fleet: Fleet) -> None:
    _run(fleet, [("--max-concurrency", str(LIMIT))], "batch_id")


def test_the_limit_of_an_upstream_holds_over_both_and_all_batches(fleet: Fleet) -> None:
    fleet.installation.environment["UPSTREAM_LIMIT"] = str(LIMIT)
    _run(fleet, [("--account", "first"), ("--account", "second")], "upstream_id")


def _run(fleet: Fleet, submissions: Sequence[tuple[str, str]], limited: str) -> None:
    """Run batches to their end by two workers, and see that they share the limit and never pass it."""
    fleet.upstream.set(latency=0.25)
    sharing = (
        "SELECT count(DISTINCT engine_id) FROM batches_share "
        f"WHERE {limited} IS NOT NULL AND slots > 0"
    )
    hosts = "SELECT count(*) FROM batches_host"
    with fleet.worker(), fleet.worker():
        wait_for(lambda: fleet.installation.execute(hosts)[0][0] == 2, "both workers to be there")
        batches = [fleet.submit(LINES, *options) for options in submissions]
        # A worker has two engines.
        wait_for(lambda: fleet.installation.execute(sharing)[0][0] > 2, "three engines to share")
        for batch in batches:
            batch.wait_until("completed")
    for batch in batches:
        batch.assert_whole()
    assert fleet.upstream.called() == LINES * len(batches)
    assert fleet.upstream.stats()["max_in_flight"] <= LIMIT


def test_a_small_batch_is_done_while_a_big_one_runs(fleet: Fleet) -> None:
    fleet.upstream.set(latency=0.5)
    with fleet.worker(), fleet.worker():
        big = fleet.submit(5_000)
        big.wait_for_results(100)
        small = fleet.submit(10, "--external-user", "somebody-else")
        small.wait_until("completed", 30)
        assert big.status == "in_progress"
        fleet.installation.manage("cancel_batch", big.id)
        big.wait_until("cancelled")
    small.assert_whole()
    big.assert_whole("cancelled", failed=5_000 - big.row("completed")[0])
