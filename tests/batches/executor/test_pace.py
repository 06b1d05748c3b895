"""The pace: what it does at each outcome, and that it finds what a server bears."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches.executor.pace import START, Pace
from tests.batches.executor.simulated import Run, Server

REFUSED_AT_MOST = 0.03


def pace(most=512, learnt=None) -> Pace:
    return Pace(most, rest_seconds=0.5, max_rest_seconds=30, learnt=learnt)


def fill(one: Pace, now=0.0) -> list[int]:
    """Begin every call that there is room for."""
    return [one.began(now) for _ in range(one.room(now))]


def round_trip(one: Pace, now: float, seconds=1.0, tokens=10, speed=lambda calls: 1.0) -> float:
    """Fill it, and answer all; `speed` of each call when so many are in flight. Returns the time."""
    calls = fill(one, now)
    took = seconds / speed(one.in_flight)
    for call in calls:
        one.answered(call, took, tokens)
        one.ended(call, now + took)
    return now + took


def refuse(one: Pace, calls: list[int], now: float, after=None) -> None:
    for call in calls:
        one.refused(call, now, after)
        one.ended(call, now)


def test_how_many_calls_begin_in_a_time_follows_from_how_long_they_take() -> None:
    one = pace()
    assert one.within(1) == 0

    round_trip(one, 0, seconds=0.5)

    assert one.within(0.25) == one.limit // 2
    assert one.within(600) == 128 * one.limit


# Growing


def test_it_begins_low_and_doubles_as_long_as_that_pays():
    one = pace()
    seen, now = [one.limit], 0.0
    for _ in range(5):
        now = round_trip(one, now)
        seen.append(one.limit)
    assert seen == [START, 32, 64, 128, 256, 512]


def test_it_stops_where_more_calls_bring_no_more_tokens():
    one, now = pace(), 0.0
    for _ in range(40):
        now = round_trip(one, now, speed=lambda calls: min(1, 100 / calls))
    assert 85 <= one.limit <= 130


def test_it_grows_only_when_the_limit_was_in_use():
    one = pace()
    for second in range(100):
        calls = [one.began(second) for _ in range(START - 1)]
        for call in calls:
            one.answered(call, 1, 10)
            one.ended(call, second + 1)
    assert one.limit == START


def test_the_largest_limit_holds():
    one, now = pace(most=50), 0.0
    for _ in range(30):
        now = round_trip(one, now)
        assert one.limit <= 50
    assert one.limit == 50


def test_calls_that_bring_nothing_for_their_time_count_against_a_limit():
    one = pace()
    now = round_trip(one, 0.0)
    assert one.limit == 2 * START
    calls = fill(one, now)
    for call in calls[::2]:
        one.failed(call, 10)
        one.ended(call, now + 10)
    for call in calls[1::2]:
        one.answered(call, 1, 10)
        one.ended(call, now + 10)
    assert one.limit == START


def test_what_was_learnt_is_where_it_begins_without_doubling():
    one = pace(learnt=100.4)
    assert one.limit == 100
    now = round_trip(one, 0.0)
    assert one.limit == 100
    round_trip(one, now)
    assert one.limit == 115


def test_nothing_is_learnt_before_the_first_judgement():
    one = pace()
    assert one.learnt is None
    round_trip(one, 0.0)
    assert one.learnt == START


# Refusals


def test_it_falls_below_what_was_accepted_and_once_for_all_calls_sent_before():
    one = pace(learnt=100)
    calls = fill(one)
    refuse(one, calls[:20], 1)
    assert one.limit == 72  # nine tenths of 80
    for call in calls[20:]:
        one.answered(call, 1, 10)
        one.ended(call, 1)
    assert one.limit == 72


def test_a_refusal_of_a_later_call_cuts_again():
    one = pace(learnt=100)
    calls = fill(one)
    refuse(one, calls[:1], 1)
    assert one.limit == 89
    for call in calls[1:21]:
        one.answered(call, 1, 10)
        one.ended(call, 1)
    refuse(one, fill(one, 1)[:1], 1.1)
    assert one.limit == 79


def test_a_refused_step_up_goes_back_to_where_all_was_well():
    one = pace(learnt=40)
    now = round_trip(one, round_trip(one, 0.0))
    assert one.limit == 46
    refuse(one, fill(one, now)[40:], now)
    assert one.limit == 40


def test_one_refusal_is_not_a_reason_to_rest_even_if_it_asks_for_one():
    one = pace(learnt=100)
    now = round_trip(one, 0.0)
    refuse(one, fill(one, now)[:1], now, after=60)
    for call in range(101, 200):
        one.ended(call, now)
    assert one.room(now) > 0


def test_when_a_round_trip_of_cutting_has_not_helped_all_rest_as_long_as_asked():
    one = pace(learnt=100)
    now = round_trip(one, 0.0)
    while one.room(now) > 0:
        refuse(one, fill(one, now), now, after=7)
        last, now = now, now + 0.01
    assert one.rests_until == last + 7
    assert one.room(last + 6.9) == 0
    assert one.room(last + 7) == 1


def test_rests_that_nobody_asked_for_grow_longer_and_end():
    one, now, rests = pace(), 0.0, []
    for _ in range(10):
        while one.room(now) > 0:
            refuse(one, fill(one, now), now)
        rests.append(one.rests_until - now)
        now = one.rests_until
    assert rests == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30])
    now = round_trip(one, now)
    assert one.limit == 1
    for _ in range(16):
        now = round_trip(one, now)
    assert one.limit > 1


def test_the_first_answer_after_a_rest_ends_the_trouble():
    one, now = pace(), 0.0
    while one.room(now) > 0:
        refuse(one, fill(one, now), now)
    now = round_trip(one, one.rests_until)
    for _ in range(16 * 6):
        now = round_trip(one, now)
    assert one.limit >= 32


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "answer", "refuse", "fail", "abort"]),
        st.integers(0, 1000),
        st.floats(0.001, 100),
    ),
    max_size=300,
)


@given(STEPS, st.integers(1, 600), st.none() | st.floats(0.01, 10_000))
def test_whatever_happens_the_limit_stays_within_its_bounds(steps, most, learnt):
    one = pace(most, learnt)
    calls, now = [], 0.0
    for step, pick, seconds in steps:
        now += seconds / 10
        if step == "begin":
            calls += fill(one, now)
        elif calls:
            call = calls.pop(pick % len(calls))
            before = one.limit
            if step == "answer":
                one.answered(call, seconds, pick)
            elif step == "refuse":
                one.refused(call, now, seconds if pick % 2 else None)
                assert one.limit <= before
            elif step == "fail":
                one.failed(call, seconds)
            one.ended(call, now)
        assert 1 <= one.limit <= most
        assert one.in_flight == len(calls)
        assert one.room(now) <= max(0, one.limit - one.in_flight)
    assert one.rests_until <= now + 100
    assert one.learnt is None or one.learnt <= most


@given(st.integers(1, 500), st.data())
def test_a_burst_is_cut_to_what_was_accepted_of_it(size, draw):
    one = pace(learnt=size)
    calls = fill(one)
    refused = draw.draw(st.integers(1, len(calls)))
    refuse(one, calls[:refused], 1)
    assert one.limit == max(1, math.floor(0.9 * (size - refused)))


# Against a server: minutes of its time


KNEES = {
    "a queue, then refusals": Server(100, queue=64),
    "a queue without end": Server(100),
    "refusals": Server(100, queue=0),
    "refusals that ask to wait": Server(100, queue=0, retry_after=5),
    "37 slots": Server(37, queue=20),
}


@pytest.mark.parametrize("counted", [True, False], ids=["tokens", "no tokens"])
@pytest.mark.parametrize("name", KNEES)
def test_it_settles_near_the_knee(name, counted):
    server = replace(KNEES[name], counted=counted)
    run = Run(server, pace()).go(120)
    assert run.per_second(10, 120) >= 0.88 * server.per_second
    assert 0.85 * server.slots <= run.limit(40, 120) <= 1.5 * server.slots
    assert run.refused < REFUSED_AT_MOST


def test_a_small_server_is_kept_busy_and_hardly_refuses():
    server = Server(4, queue=4, seconds=0.25)
    run = Run(server, pace()).go(120)
    assert run.per_second(5, 120) >= 0.93 * server.per_second
    assert run.limit(40, 120) < 8
    assert run.refused < REFUSED_AT_MOST


@pytest.mark.parametrize("queue", [0, 64, math.inf])
def test_a_capacity_that_halves_and_comes_back_is_followed(queue):
    server = Server(100, queue, seconds=0.25, changes=[(60, 50), (120, 100)])
    full = server.per_second
    run = Run(server, pace()).go(180)
    assert run.per_second(70, 120) >= 0.85 * full / 2
    assert run.limit(90, 120) <= 100
    assert run.per_second(140, 180) >= 0.85 * full
    assert run.refused < REFUSED_AT_MOST


def test_a_server_that_refuses_everything_is_left_in_peace_and_found_again():
    server = Server(100, queue=0, changes=[(20, 0), (80, 100)])
    full = server.per_second
    run = Run(server, pace()).go(150)
    after_the_burst = [when for when in run.refusals if 25 <= when < 80]
    assert len(after_the_burst) < 12
    assert run.per_second(125, 150) >= 0.85 * full


def test_a_large_server_is_filled():
    run = Run(Server(400), pace()).go(60)
    assert run.limit(20, 60) >= 0.85 * 400
