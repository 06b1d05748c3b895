"""A requeue runs what failed and nothing else."""

import pytest

from tests.support.fleet import Fleet

pytestmark = pytest.mark.e2e
LINES = 60


def test_only_the_failed_lines_are_called_again(fleet: Fleet) -> None:
    fleet.upstream.set(fail=0.5)
    with fleet.worker(BATCH_MAX_ATTEMPTS="1"):
        batch = fleet.submit(LINES)
        batch.wait_until("completed")
        good = batch.row("completed")[0]
        assert 0 < good < LINES
        batch.assert_whole(failed=LINES - good)
        before = {result["custom_id"]: result for result in batch.results("output")}
        failed = {result["custom_id"] for result in batch.results("error")}
        calls = len(fleet.upstream.calls(batch))
        assert calls == LINES

        fleet.upstream.set(fail=0)
        fleet.installation.manage("requeue_batch", batch.id, "--reason", "test")
        batch.wait_until("completed")
    batch.assert_whole()
    again = fleet.upstream.calls(batch)[calls:]
    assert {batch.custom_ids[call.line - 1] for call in again} == failed
    assert len(again) == len(failed)
    after = {result["custom_id"]: result for result in batch.results("output")}
    assert {custom_id: after[custom_id] for custom_id in before} == before
