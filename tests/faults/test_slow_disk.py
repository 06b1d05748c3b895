"""F71: one sync takes longer than the lease. The heartbeat does not wait for it, so nobody takes the shard over."""

import os
import time
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import Account
from api.clock import database_now
from batches import journal, results
from batches.execution import run_turn
from batches.models import Shard, Status
from batches.salvage import spool_of
from batches.verification import verify
from tests.batches.executor.scripted import reply
from tests.batches.factories import HOUR, answers, make_engine, start, unanswered
from tests.batches.test_execution import model_server

pytestmark = pytest.mark.django_db(transaction=True)
LINES = 12
LEASE_SECONDS = 1.0
SLOW_SECONDS = 3 * LEASE_SECONDS


def _free() -> int:
    """Shards that another engine could take."""
    return Shard.objects.claimable(database_now()).count()


def test_a_sync_that_outlasts_the_lease_costs_nothing(
    account: Account, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BATCH_LEASE_SECONDS = LEASE_SECONDS
    fsync = os.fsync
    free: list[int] = []
    slow = []

    def sync_slowly(descriptor: int) -> None:
        if not slow:
            slow.append(descriptor)
            time.sleep(SLOW_SECONDS)  # so slow is the disk
            # By now the lease has ended three times, had nobody renewed it.
            free.append(_free())
        fsync(descriptor)

    with model_server(lambda call: reply()) as server:
        batch = start(account, LINES)
        monkeypatch.setattr(os, "fsync", sync_slowly)
        run_turn(lambda: False)

    assert slow
    assert free == [0]
    assert len(server.calls) == LINES
    assert set(Shard.objects.values_list("epoch", flat=True)) == {1}
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert (batch.status, batch.completed, verify(batch)) == (Status.COMPLETED, LINES, [])


def test_a_take_over_that_outlasts_the_lease_costs_nothing(
    account: Account, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shards are not in the engine's hands yet, for what their last owner had answers for is recorded first."""
    settings.BATCH_LEASE_SECONDS = LEASE_SECONDS
    record = journal.record
    free: list[int] = []
    slow = []

    def record_slowly(*args: Any, **named: Any) -> bool:
        if not slow:
            slow.append(1)
            time.sleep(SLOW_SECONDS)
            free.append(_free())
        return record(*args, **named)

    with model_server(lambda call: reply()) as server:
        batch = start(account, LINES)
        shard, dead = batch.shards.get(), make_engine(lease=-HOUR)
        assert shard.claim(dead, -1, database_now())
        spool_of(dead).rewrite((shard.pk, 1, r) for r in answers(unanswered(shard)[:4]))
        monkeypatch.setattr(journal, "record", record_slowly)
        run_turn(lambda: False)

    assert slow
    assert free == [0]
    assert len(server.calls) == LINES - 4
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert (batch.status, batch.completed, verify(batch)) == (Status.COMPLETED, LINES, [])
