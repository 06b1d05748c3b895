from types import SimpleNamespace

import pytest

from batches.executor.outage import Breaker


def line():
    return SimpleNamespace(blamed_at=None)


@pytest.fixture
def breaker():
    return Breaker(1, failures=3, probe_seconds=1, max_probe_seconds=4, blame_seconds=10)


def take_down(breaker, now=0.0):
    return [breaker.failed(line(), now, now + 0.5) for _ in range(3)]


def test_failures_in_a_row_take_it_down(breaker):
    assert take_down(breaker) == [False, False, False]

    assert breaker.down
    assert not breaker.allows(1.4)
    assert breaker.allows(1.5)


def test_an_answer_in_between_begins_the_row_anew(breaker):
    breaker.failed(line(), 0, 0)
    breaker.failed(line(), 0, 0)
    breaker.answered(9)
    breaker.failed(line(), 0, 0)

    assert not breaker.down


def test_one_probe_at_a_time_and_later_each_time(breaker):
    take_down(breaker)
    now, gaps = 1.5, []
    for _ in range(4):
        probe = line()
        breaker.started(probe)
        assert not breaker.allows(now + 1000)
        assert not breaker.failed(probe, now, now)
        breaker.ended(probe)
        begun = now
        while not breaker.allows(now):
            now += 0.5
        gaps.append(now - begun)

    assert gaps == [2, 4, 4, 4]


def test_an_aborted_probe_makes_room_for_the_next(breaker):
    take_down(breaker)
    probe = line()
    breaker.started(probe)
    breaker.ended(probe)

    assert breaker.allows(1.5)


def test_calls_that_were_in_flight_are_not_blamed_even_when_it_is_back(breaker):
    take_down(breaker)
    breaker.answered(9)

    assert breaker.allows(0.6)
    assert [breaker.failed(line(), 0.4, 9) for _ in range(5)] == [False] * 5
    assert not breaker.down
    assert breaker.failed(line(), 0.6, 9.5)


def test_a_line_that_fails_while_others_are_answered_is_to_blame(breaker):
    breaker.answered(5)

    assert breaker.failed(line(), 4, 6)
    assert not breaker.failed(line(), 5.5, 6)


def test_a_line_that_fails_alone_is_blamed_once_in_a_while():
    breaker = Breaker(1, failures=99, probe_seconds=1, max_probe_seconds=4, blame_seconds=10)
    alone = line()

    blamed = [now for now in range(32) if breaker.failed(alone, now, now)]

    assert blamed == [10, 20, 30]
