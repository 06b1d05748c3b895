"""Who gets a shard: one owner at a time, and the right one first."""

import datetime
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import Account, ExternalUser, Owner
from api.clock import database_now
from batches import lifecycle
from batches.claims import MOST_AT_ONCE, Claim, Hand, claim_shards
from batches.models import Batch, Shard, Upstream
from tests.batches.factories import HOUR, claimed, make_engine, make_upstream, overdue, start
from tests.factories import AccountFactory
from tests.support.apart import output
from tests.support.apart import start as start_apart
from tests.support.threads import race

NOTHING = Hand()
ROUNDS = 200


def claim(wanted: int = 1, hand: Hand = NOTHING) -> list[Claim]:
    return claim_shards(make_engine(), wanted, hand)


def batches_of(claims: list[Claim]) -> list[Batch]:
    return [found.batch for found in claims]


def one_shard() -> Shard:
    """Make a batch of one line, all of whose rows are committed."""
    return start(AccountFactory(), 1).shards.get()


# One owner


@pytest.mark.django_db(transaction=True)
def test_of_two_that_claim_one_shard_one_gets_it_each_time() -> None:
    shard = one_shard()
    rivals = make_engine(), make_engine()
    now = database_now()

    for _ in range(ROUNDS):
        seen = Shard.objects.get(pk=shard.pk), Shard.objects.get(pk=shard.pk)
        won = race(
            lambda: seen[0].claim(rivals[0], 60, now),  # noqa: B023 - over within the round
            lambda: seen[1].claim(rivals[1], 60, now),  # noqa: B023
        )
        row = Shard.objects.get(pk=shard.pk)
        assert sorted(won) == [False, True]
        assert row.owner == rivals[won.index(True)]
        assert row.epoch == shard.epoch + 1
        Shard.objects.update(state=Shard.State.WAITING, owner=None, lease_expires_at=None)
        shard = row


@pytest.mark.django_db(transaction=True)
def test_engines_that_search_at_once_never_share_a_shard(settings: Settings) -> None:
    settings.BATCH_SHARD_LINES = 1
    batch = start(AccountFactory(), 40)
    engines = [make_engine() for _ in range(4)]

    found = race(*(lambda engine=engine: claim_shards(engine, 15, NOTHING) for engine in engines))

    taken = [one.shard.pk for claims in found for one in claims]
    assert len(taken) == len(set(taken))
    assert batch.shards.filter(state=Shard.State.RUNNING).count() == len(taken)
    for engine, claims in zip(engines, found, strict=True):
        assert {one.shard.pk for one in claims} == set(engine.shards.values_list("pk", flat=True))


CLAIM_ALL = """
import sys
from batches.claims import Hand, claim_shards
from batches.models import Engine
engine = Engine.objects.get(pk=sys.argv[1])
print("ready", flush=True)
input()
while claims := claim_shards(engine, 1, Hand()):
    print(*(one.shard.number for one in claims))
"""


@pytest.mark.django_db(transaction=True)
def test_processes_that_claim_at_once_never_share_a_shard(settings: Settings) -> None:
    settings.BATCH_SHARD_LINES = 1
    start(AccountFactory(), 200)
    claimers = [start_apart(CLAIM_ALL, make_engine().pk) for _ in range(2)]
    for claimer in claimers:
        assert claimer.stdout is not None
        assert claimer.stdout.readline() == "ready\n"
    for claimer in claimers:
        assert claimer.stdin is not None
        claimer.stdin.write("go\n")
        claimer.stdin.flush()

    taken = [int(number) for claimer in claimers for number in output(claimer).split()]
    assert sorted(taken) == list(range(200))


# Leases


def test_a_lease_holds_until_it_ends_by_the_databases_clock(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = start(account, 1).shards.get()
    claimed(shard, lease=60)
    assert claim() == []

    Shard.objects.update(lease_expires_at=database_now() - datetime.timedelta(seconds=1))
    (found,) = claim()
    assert (found.shard.pk, found.shard.epoch) == (shard.pk, shard.epoch + 1)


@pytest.mark.parametrize("hours", [-2, 2, 24])
def test_a_wrong_clock_of_the_host_neither_takes_nor_leaves_a_lease(
    account: Account, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    batch = start(account, 1)
    shard = batch.shards.get()
    wrong = database_now() + hours * HOUR
    monkeypatch.setattr("django.utils.timezone.now", lambda: wrong)
    monkeypatch.setattr("time.time", wrong.timestamp)
    due_in(batch, hours=1)

    claimed(shard, lease=60)
    assert claim() == []
    Shard.objects.update(lease_expires_at=database_now() - datetime.timedelta(seconds=1))
    assert len(claim()) == 1


def test_who_saw_an_older_epoch_is_refused(account: Account) -> None:
    shard = start(account, 1).shards.get()
    stale = Shard.objects.get(pk=shard.pk)
    claimed(shard)
    Shard.objects.update(state=Shard.State.WAITING)

    assert not stale.claim(make_engine(), 60, database_now())


# Fairness


def user_of(account: Account, external_id: str) -> Owner:
    return Owner(account, ExternalUser.objects.create(account=account, external_id=external_id))


def due_in(batch: Batch, hours: int) -> Batch:
    Batch.objects.filter(pk=batch.pk).update(expires_at=database_now() + hours * HOUR)
    return batch


def test_ten_lines_come_before_the_next_shard_of_a_million(
    settings: Settings, account: Account
) -> None:
    settings.BATCH_SHARD_LINES = 100
    settings.ENGINE_CONCURRENCY = 50
    big = due_in(start(account, 1000), hours=1)
    assert batches_of(claim()) == [big]
    small = start(AccountFactory(), 10)
    assert big.upstream_id is not None
    quick = Hand(room={(big.upstream_id, "m"): 1000})

    assert batches_of(claim(300, quick)) == [small, big, big, big]


def test_the_owner_with_the_least_in_flight_comes_first_then_the_earliest_deadline(
    settings: Settings, account: Account
) -> None:
    settings.BATCH_SHARD_LINES = 2
    late, early = due_in(start(account, 4), 9), due_in(start(account, 4), 3)
    other = due_in(start(AccountFactory(), 6), 5)

    # 0:0 early; 2:0 other; 2:2 early; 4:2 other; 4:4 other is due before late
    assert batches_of(claim(wanted=99)) == [early, other, early, other, other, late, late]


def test_an_external_user_is_an_owner_of_their_own(account: Account, settings: Settings) -> None:
    settings.BATCH_SHARD_LINES = 2
    own = due_in(start(account, 4), 1)
    theirs = due_in(start(user_of(account, "them"), 4), 2)

    assert batches_of(claim(wanted=99)) == [own, theirs, own, theirs]


def test_lines_of_the_dead_do_not_count_as_in_flight(account: Account, settings: Settings) -> None:
    settings.BATCH_SHARD_LINES = 10
    dead = due_in(start(account, 20), 1)
    claimed(dead.shards.get(number=0), lease=-1)
    alive = due_in(start(AccountFactory(), 20), 2)
    claimed(alive.shards.get(number=0))

    assert batches_of(claim()) == [dead]


def test_shards_are_taken_in_the_order_of_the_file(account: Account, settings: Settings) -> None:
    settings.BATCH_SHARD_LINES = 2
    start(account, 10)
    assert [found.shard.number for found in claim(wanted=5)] == [0, 1, 2]


def test_a_full_engine_takes_one_shard_of_somebody_new_only(account: Account) -> None:
    mine = start(account, 1)
    hand = Hand(owners=frozenset({(account.pk, None)}))
    assert claim(0, hand) == []

    theirs = start(AccountFactory(), 1)
    assert batches_of(claim(0, hand)) == [theirs]
    assert batches_of(claim(1, hand)) == [mine]


def test_what_would_only_pile_up_is_left_to_others(account: Account) -> None:
    batch = start(account, 1)
    assert claim(9, Hand(full_batches=frozenset({batch.pk}))) == []
    assert claim(9, Hand(full_owners=frozenset({(account.pk, None)}))) == []
    assert len(claim(9)) == 1


def test_a_claim_takes_only_so_many_shards(account: Account, settings: Settings) -> None:
    settings.BATCH_SHARD_LINES = 1
    start(account, MOST_AT_ONCE + 5)
    assert len(claim(wanted=1000)) == MOST_AT_ONCE


# What may not be claimed


def pause(batch: Batch) -> Any:
    assert batch.upstream is not None
    return batch.upstream.pause("test")


@pytest.mark.parametrize(
    "stop",
    [
        pause,
        overdue,
        lambda batch: lifecycle.cancel(batch, actor="test"),
        lambda batch: lifecycle.expire(batch, actor="test"),
        lambda batch: batch.shards.update(state=Shard.State.DONE),
    ],
    ids=["paused", "overdue", "cancelled", "closed", "done"],
)
@pytest.mark.parametrize("lapsed", [False, True])
def test_lines_that_may_not_be_sent_are_not_claimed(
    account: Account, stop: Any, lapsed: bool
) -> None:
    batch = start(account, 1)
    if lapsed:
        claimed(batch.shards.get(), lease=-1)

    stop(batch)
    assert claim() == []


def test_a_paused_upstream_holds_up_nobody_else(account: Account) -> None:
    pause(start(account, 1))
    make_upstream(served_models=["m"])
    other = start(account, 1)

    assert batches_of(claim(wanted=9)) == [other]


# Limits


def test_a_claim_brings_what_the_limits_allow(account: Account, settings: Settings) -> None:
    settings.ENGINE_CONCURRENCY = 50
    upstream = make_upstream(limit=7)
    batch = start(account, 1, max_concurrency=9)

    (found,) = claim()
    assert found.slots == {("batch", batch.pk): 9, ("upstream", upstream.pk): 7}


@pytest.mark.parametrize("limited", ["batch", "upstream"])
def test_who_would_get_no_slot_takes_no_shard(
    account: Account, settings: Settings, limited: str
) -> None:
    settings.BATCH_SHARD_LINES = 1
    settings.ENGINE_CONCURRENCY = 5
    make_upstream(limit=5 if limited == "upstream" else None)
    batch = start(account, 9, max_concurrency=5 if limited == "batch" else 500)
    assert len(claim()) == 1

    other = start(AccountFactory(), 1)
    if limited == "batch":
        assert batches_of(claim(wanted=9)) == [other]
    else:
        assert claim(wanted=9) == []
        Upstream.objects.update(limit=10)
        assert {*batches_of(claim(wanted=9))} == {batch, other}
