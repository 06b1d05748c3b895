"""The pace of an upstream and model outlives the engine that found it, and is no reason to hoard lines."""

import datetime

import pytest
from pytest_django import Settings

from accounts.models import Account
from api.clock import database_now
from batches import paces
from batches.claims import Hand, claim_shards
from batches.models import Batch, Pace
from tests.batches.factories import HOUR, make_engine, make_upstream, request_line, start
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db

MODEL_N = '{"model": "n", "messages": []}'


def claim(hand: Hand, wanted: int = 9) -> list[Batch]:
    return [found.batch for found in claim_shards(make_engine(), wanted, hand)]


# Kept


def test_a_pace_that_nobody_found_is_no_number() -> None:
    assert paces.portion((make_upstream().pk, "m"), database_now()) is None


def test_engines_begin_with_equal_parts_of_what_was_found(account: Account) -> None:
    place, now = (make_upstream().pk, "m"), database_now()
    make_engine()
    paces.keep({place: 60}, now)
    assert paces.portion(place, now) == 60

    make_engine()
    make_engine(lease=-HOUR)  # dead
    assert paces.portion(place, now) == 30


def test_what_one_of_several_engines_finds_stands_for_all() -> None:
    place, now = (make_upstream().pk, "m"), database_now()
    make_engine(), make_engine()
    paces.keep({place: 30}, now)
    assert Pace.objects.get().calls == 60


def test_the_latest_finding_stands() -> None:
    upstream, now = make_upstream(), database_now()
    make_engine()
    later = now + datetime.timedelta(seconds=5)
    paces.keep({(upstream.pk, "m"): 10, (upstream.pk, "n"): 5}, now)
    paces.keep({(upstream.pk, "m"): 20}, later)
    rows = Pace.objects.order_by("model").values_list("model", "calls", "found_at")
    assert list(rows) == [("m", 20, later), ("n", 5, now)]


# Not hoarded


def full(batch: Batch) -> Hand:
    assert batch.upstream_id is not None
    assert batch.model is not None
    return Hand(
        owners=frozenset({(batch.account_id, batch.external_user_id)}),
        room={(batch.upstream_id, batch.model): 0},
    )


def test_lines_of_a_model_at_its_pace_are_left_to_other_engines(account: Account) -> None:
    batch = start(account, 1)
    assert claim(full(batch)) == []
    assert claim(Hand()) == [batch]


def test_another_model_of_the_same_upstream_has_a_pace_of_its_own(account: Account) -> None:
    mine = start(account, 1)
    other = start(account, request_line(body=MODEL_N))
    assert other.upstream == mine.upstream
    assert claim(full(mine)) == [other]


def test_nobody_new_waits_because_an_upstream_is_at_its_pace(account: Account) -> None:
    mine = start(account, 1)
    theirs = start(AccountFactory(), 1)
    assert claim(full(mine)) == [theirs]
    assert claim(full(mine)) == []


def test_a_claim_takes_of_a_slow_model_what_it_can_use_and_the_rest_of_a_quick_one(
    account: Account, settings: Settings
) -> None:
    settings.BATCH_SHARD_LINES = 2
    slow = start(account, 6)
    quick = start(account, b"".join(request_line(f"{n}", MODEL_N) for n in range(6)))
    assert slow.upstream_id is not None
    hand = Hand(room={(slow.upstream_id, "m"): 2, (slow.upstream_id, "n"): 100})

    assert claim(hand, wanted=100) == [slow, quick, quick, quick]


def test_a_claim_takes_no_more_of_a_batch_than_may_be_in_flight(
    account: Account, settings: Settings
) -> None:
    settings.BATCH_SHARD_LINES = 2
    narrow, other = start(account, 6, max_concurrency=1), start(AccountFactory(), 4)

    assert claim(Hand(), wanted=100) == [narrow, other, other]
