"""F64, F65: the database goes away in each stage, or its word is lost; the batch ends whole, by itself."""

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.fleet import Fleet, stopped_move
from tests.support.processes import wait_for
from tests.support.proxy import Proxy

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.only_on("postgresql"),  # SQLite is a file: nothing can come between
]
LINES = 60
AWAY_SECONDS = 5


@pytest.fixture
def proxy(fleet: Fleet) -> Iterator[Proxy]:
    """What the workers reach the database through; the test itself does not."""
    parts = urlsplit(fleet.installation.database_url)
    proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 5432)
    user = parts.netloc.rpartition("@")[0]
    place = f"{user}@127.0.0.1:{proxy.port}" if user else f"127.0.0.1:{proxy.port}"
    url = parts._replace(netloc=place).geturl()
    fleet.installation.environment["DATABASE_URL"] = url
    yield proxy
    proxy.close()


@pytest.mark.parametrize("stage", ["validating", "finalizing"])
def test_a_database_that_goes_away_in_a_step(fleet: Fleet, proxy: Proxy, stage: str) -> None:
    after = {"validating": "in_progress", "finalizing": "completed"}[stage]
    with fleet.worker():
        with stopped_move(fleet.installation, after):
            batch = fleet.submit(LINES)
            wait_for(lambda: batch.in_step(stage), f"the batch to be {stage}")
            with proxy.away():
                time.sleep(AWAY_SECONDS)  # so long is the outage
        batch.wait_until("completed")
    batch.assert_whole()
    assert proxy.cuts
    assert fleet.upstream.called() == LINES


def test_a_database_that_goes_away_in_mid_calls(fleet: Fleet, proxy: Proxy) -> None:
    """An outage shorter than the lease costs no call: results wait in the worker's memory."""
    fleet.upstream.set(latency=1.0)
    fleet.installation.environment["BATCH_LEASE_SECONDS"] = "60"
    with fleet.worker():
        batch = fleet.submit(LINES)
        batch.wait_for_results(10)
        with proxy.away():
            time.sleep(AWAY_SECONDS)
        batch.wait_until("completed")
    batch.assert_whole()
    assert proxy.cuts
    assert fleet.upstream.called() == LINES


def test_a_database_that_is_away_for_longer_than_the_lease(fleet: Fleet, proxy: Proxy) -> None:
    fleet.upstream.set(latency=0.5)
    fleet.installation.environment["BATCH_LEASE_SECONDS"] = "3"
    with fleet.worker():
        batch = fleet.submit(10 * LINES)
        batch.wait_for_results(10)
        with proxy.away():
            time.sleep(2 * AWAY_SECONDS)
            stats = fleet.upstream.stats()
        # A worker that cannot prove its lease begins no call.
        assert stats["in_flight"] == 0
        assert stats["calls"] < 10 * LINES
        batch.wait_until("completed")
    batch.assert_whole()


def test_connections_that_break_again_and_again(fleet: Fleet, proxy: Proxy) -> None:
    fleet.upstream.set(latency=0.3)
    with fleet.worker():
        batch = fleet.submit(5 * LINES)
        for _ in range(30):
            if batch.status == "completed":
                break
            proxy.cut()
            time.sleep(1)
        # Each cut in the midst of a step may have put the batch off for that step's 30 s: it is promised from here on.
        batch.wait_until("completed")
    batch.assert_whole()
    assert proxy.cuts > 10


def test_a_commit_whose_answer_is_lost_is_not_done_twice(fleet: Fleet, proxy: Proxy) -> None:
    """Whether it took place is read from the rows: no result twice, none missing, and the counts are right."""
    fleet.upstream.set(latency=0.5)
    with fleet.worker():
        batch = fleet.submit(LINES)
        batch.wait_for_results(1)
        proxy.lose_commits(10)
        batch.wait_until("completed")
        # What is lost takes place all the same: the batch may have needed fewer, and the worker goes on without it.
        wait_for(lambda: proxy.cuts >= 10, "ten lost answers")
    batch.assert_whole()
