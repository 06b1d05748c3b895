"""Limits hold over all engines together, whatever each of them wants, and at every moment."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.models import Account
from api.clock import database_now
from batches.models import Engine, Share, Upstream
from batches.shares import Thing, Use, admit, divide, settle
from tests.batches.factories import HOUR, make_engine, make_upstream, start
from tests.factories import AccountFactory
from tests.support.threads import race

WANTS = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(0, 50), min_size=1)


@given(limit=st.integers(0, 120), wanted=WANTS)
def test_a_division_is_within_the_limit_complete_and_without_envy(
    limit: int, wanted: dict[str, int]
) -> None:
    given_slots = divide(limit, wanted)

    assert given_slots.keys() == wanted.keys()
    assert sum(given_slots.values()) == min(limit, sum(wanted.values()))
    most = max(given_slots.values())
    for engine, slots in given_slots.items():
        assert 0 <= slots <= wanted[engine]
        assert slots == wanted[engine] or slots >= most - 1


def use(engine: Engine, thing: Thing, wanted: int, held: int = 0) -> int:
    return settle(engine, {thing: Use(wanted, held)}, database_now())[thing]


@pytest.fixture(params=["batch", "upstream"])
def thing(request: pytest.FixtureRequest, account: Account) -> Thing:
    """Something whose limit is 10."""
    upstream = make_upstream(limit=10)
    batch = start(account, 1, max_concurrency=10)
    return ("batch", batch.pk) if request.param == "batch" else ("upstream", upstream.pk)


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["settle", "admit", "give back", "die", "shrink"]),
        st.integers(0, 3),
        st.integers(0, 15),
    ),
    max_size=30,
)


@hypothesis_settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(moves=MOVES)
def test_four_engines_never_pass_a_limit(thing: Thing, moves: list[tuple[str, int, int]]) -> None:
    Engine.objects.all().delete()
    engines = [make_engine() for _ in range(4)]
    held = [0] * 4  # calls each may still be making: its last grant, until it has shrunk
    granted = [0] * 4

    for move, number, wanted in moves:
        engine = engines[number]
        if move == "settle" and granted[number]:
            granted[number] = use(engine, thing, wanted, held[number])
            held[number] = max(held[number], granted[number])
        elif move == "admit" and not granted[number] and not held[number]:
            granted[number] = held[number] = admit(engine, thing, wanted, database_now()) or 0
        elif move == "shrink":
            held[number] = min(held[number], granted[number])
        elif move == "give back":
            settle(engine, {}, database_now())
            granted[number] = held[number] = 0
        elif move == "die":
            engine.delete()
            engines[number] = make_engine()
            granted[number] = held[number] = 0
        assert sum(held) <= 10
        assert all(slots >= 0 for slots in granted)
        assert sum(Share.objects.values_list("slots", flat=True)) <= 10


def test_two_engines_come_to_share_evenly(thing: Thing) -> None:
    first, second = make_engine(), make_engine()
    assert use(first, thing, 50) == 10

    assert use(second, thing, 50) == 0  # nothing is free yet
    assert use(first, thing, 50, held=10) == 5  # and so it shrinks
    assert use(second, thing, 50) == 0  # its calls go on
    assert use(first, thing, 50, held=5) == 5
    assert use(second, thing, 50) == 5


def test_who_needs_little_leaves_the_rest_to_the_other(thing: Thing) -> None:
    first, second = make_engine(), make_engine()
    assert use(first, thing, 2) == 2
    assert use(second, thing, 50) == 8


def test_a_dead_engine_holds_nothing(thing: Thing) -> None:
    assert use(make_engine(lease=-HOUR), thing, 50) == 10
    assert use(make_engine(), thing, 50) == 10


def test_who_is_not_admitted_leaves_no_wish_behind(thing: Thing) -> None:
    first, second = make_engine(), make_engine()
    assert use(first, thing, 50) == 10

    assert admit(second, thing, 50, database_now()) == 0
    assert use(first, thing, 50, held=10) == 10


def test_what_has_no_limit_needs_no_share(account: Account) -> None:
    upstream = make_upstream(limit=None)
    engine = make_engine()

    assert admit(engine, ("upstream", upstream.pk), 5, database_now()) is None
    assert settle(engine, {("upstream", upstream.pk): Use(5, 0)}, database_now()) == {}


def test_what_is_not_named_is_given_back(thing: Thing) -> None:
    engine = make_engine()
    assert use(engine, thing, 5) == 5

    settle(engine, {}, database_now())
    assert not engine.shares.exists()


@pytest.mark.django_db(transaction=True)
def test_engines_that_settle_at_the_same_moment_stay_within_the_limit() -> None:
    upstream = make_upstream(limit=10)
    batch = start(AccountFactory(), 1, max_concurrency=7)
    things: list[Thing] = [("upstream", upstream.pk), ("batch", batch.pk)]
    engines = [make_engine() for _ in range(4)]

    def contend(engine: Engine) -> dict[Any, int]:
        return {
            of: admit(engine, of, 6, database_now()) or 0
            for of in (things if engine is engines[0] else reversed(things))
        }

    for _ in range(15):
        granted = race(*(lambda engine=engine: contend(engine) for engine in engines))
        assert sum(one["upstream", upstream.pk] for one in granted) == 10
        assert sum(one["batch", batch.pk] for one in granted) == 7
        Share.objects.all().delete()
    assert Upstream.objects.get().limit == 10
