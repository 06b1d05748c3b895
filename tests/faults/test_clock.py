"""F35: hosts whose clocks differ by hours agree on leases and windows, for these are told by the database's clock."""

import datetime

import pytest
from django.utils import timezone

from accounts.models import Account
from batches import results, sweep
from batches.claims import Hand, claim_shards
from batches.hints import waiting
from batches.models import Shard, Status
from tests.batches.factories import LEASE, claimed, make_engine, start

# SQLite lives on one host, and so has one clock.
pytestmark = [pytest.mark.django_db, pytest.mark.only_on("postgresql")]
HOURS = [-25, -2, 2, 25]


def be_wrong_by(hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this is a host whose clock is wrong."""
    right = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: right() + datetime.timedelta(hours=hours))


@pytest.mark.parametrize("hours", HOURS)
def test_no_early_takeover_and_no_late_one(
    account: Account, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = claimed(start(account, 3).shards.get(), LEASE)
    be_wrong_by(hours, monkeypatch)
    assert claim_shards(make_engine(), 10, Hand()) == []

    monkeypatch.undo()
    Shard.objects.update(lease_expires_at=shard.batch.created_at)
    be_wrong_by(hours, monkeypatch)
    assert [claim.shard for claim in claim_shards(make_engine(), 10, Hand())] == [shard]


@pytest.mark.parametrize("hours", HOURS)
def test_no_early_expiry(account: Account, hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = start(account, 3)
    be_wrong_by(hours, monkeypatch)
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert batch.status == Status.IN_PROGRESS


def test_a_hint_from_the_future_is_rung_anew(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue's rows bear the clock of the host that rang; one that lags does not see them, and its sweep rings."""
    with monkeypatch.context() as ahead:
        be_wrong_by(2, ahead)
        start(account, 3)
        sweep.top_up()
    assert waiting("engine") == 0
    assert sweep.top_up() == 1
    assert waiting("engine") == 1
