"""F71: one sync takes longer than the lease. The heartbeat does not wait for it, so nobody takes the shard over."""

import os
import time
from collections.abc import Callable
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
LEASE_SECONDS = 4.0  # long enough for a busy machine to renew it in time
SLOW_SECONDS = 1.25 * LEASE_SECONDS


def _slow_once(call: Callable[..., Any], free: list[int]) -> Callable[..., Any]:
    """Return `call`, which first outlasts the lease, and notes how many shards another engine could take then."""
    slow = []

    def slowly(*args: Any, **named: Any) -> Any:
        if not slow:
            slow.append(1)
            time.sleep(SLOW_SECONDS)  # so slow is the disk
            free.append(Shard.objects.claimable(database_now()).count())
        return call(*args, **named)

    return slowly


def test_a_sync_that_outlasts_the_lease_costs_nothing(
    account: Account, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BATCH_LEASE_SECONDS = LEASE_SECONDS
    free: list[int] = []
    with model_server(lambda call: reply()) as server:
        batch = start(account, LINES)
        monkeypatch.setattr(os, "fsync", _slow_once(os.fsync, free))
        run_turn(lambda: False)

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
    free: list[int] = []
    with model_server(lambda call: reply()) as server:
        batch = start(account, LINES)
        shard, dead = batch.shards.get(), make_engine(lease=-HOUR)
        assert shard.claim(dead, -1, database_now())
        spool_of(dead).rewrite((shard.pk, 1, r) for r in answers(unanswered(shard)[:4]))
        monkeypatch.setattr(journal, "record", _slow_once(journal.record, free))
        run_turn(lambda: False)

    assert free == [0]
    assert len(server.calls) == LINES - 4
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert (batch.status, batch.completed, verify(batch)) == (Status.COMPLETED, LINES, [])
