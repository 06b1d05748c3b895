"""Two workers on one database: limits hold over both, and nobody waits behind somebody else's big batch."""

import sys

import pytest

from tests.support.fleet import Fleet
from tests.support.processes import wait_for

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="the cluster is hardened on Linux only"),
]


def test_the_limit_of_a_batch_holds_over_both(fleet: Fleet) -> None:
    fleet.upstream.set(latency=0.5)
    with fleet.worker(), fleet.worker():
        batch = fleet.submit(80, "--max-concurrency", "4")
        _share(fleet, "batch_id")
        batch.wait_until("completed")
    batch.assert_whole()
    assert fleet.upstream.called() == 80
    assert fleet.upstream.stats()["max_in_flight"] == 4


def test_the_limit_of_an_upstream_holds_over_both_and_all_batches(fleet: Fleet) -> None:
    fleet.upstream.set(latency=0.5)
    fleet.installation.environment["UPSTREAM_LIMIT"] = "6"
    with fleet.worker(), fleet.worker():
        batches = [fleet.submit(50, "--account", account) for account in ("first", "second")]
        _share(fleet, "upstream_id")
        for batch in batches:
            batch.wait_until("completed")
    for batch in batches:
        batch.assert_whole()
    assert fleet.upstream.called() == 100
    assert fleet.upstream.stats()["max_in_flight"] == 6


def _share(fleet: Fleet, thing: str) -> None:
    """Wait until engines of both workers have a part of the limit."""
    statement = (
        "SELECT count(DISTINCT engine.pid) FROM batches_share JOIN batches_engine AS engine "
        f"ON engine.id = engine_id WHERE {thing} IS NOT NULL AND slots > 0"
    )
    wait_for(lambda: fleet.installation.execute(statement)[0][0] > 2, "three engines to share")


def test_a_small_batch_is_done_while_a_big_one_runs(fleet: Fleet) -> None:
    fleet.upstream.set(latency=0.5)
    with fleet.worker(), fleet.worker():
        big = fleet.submit(20_000)
        big.wait_for_results(100)
        small = fleet.submit(10, "--external-user", "somebody-else")
        small.wait_until("completed", 30)
        assert big.status == "in_progress"
        fleet.installation.manage("cancel_batch", big.id)
        big.wait_until("cancelled")
    small.assert_whole()
    big.assert_whole("cancelled", failed=20_000 - big.row("completed")[0])
