"""Traffic: every line counts once, in the minute it was committed and in what that minute is rolled up to."""

import datetime

import pytest

from accounts.models import Account, Owner
from api.clock import database_now
from batches import journal, lifecycle, results, traffic
from batches.models import Batch, BatchMinute, OwnerHour, TrafficSlice
from batches.models.traffic import COUNTS, LATENCIES, LATENCY_EDGES
from tests.batches.factories import LEASE, answers, claimed, run, start, unanswered
from tests.factories import AccountFactory
from tests.support.threads import race

LATER = datetime.timedelta(minutes=5)


def sums(model: type[BatchMinute] | type[TrafficSlice] | type[OwnerHour]) -> dict[str, int]:
    return traffic.total(model.objects.values(*COUNTS))


def test_lines_count_in_the_minute_they_are_committed(account: Account) -> None:
    batch = start(account, 5)
    shard = claimed(batch.shards.get())
    requests = unanswered(shard)

    assert journal.record(shard, 1, answers(requests[:2], failing=("1",)), LEASE)
    assert journal.finish(shard, 1, answers(requests[2:]), advance=True)

    found = sums(BatchMinute)
    assert (found["completed"], found["failed"], found["calls"]) == (4, 1, 5)
    assert (found["input_tokens"], found["output_tokens"]) == (8, 12)
    assert (found["latency_0"], sum(found[name] for name in LATENCIES)) == (4, 4)
    assert all(row.minute.second == 0 for row in BatchMinute.objects.all())


def test_a_fenced_commit_counts_nothing(account: Account) -> None:
    shard = claimed(start(account, 2).shards.get())
    requests = unanswered(shard)
    shard.epoch -= 1

    assert not journal.record(shard, 1, answers(requests), LEASE)

    assert not BatchMinute.objects.exists()


def test_lines_that_were_never_called_do_not_count(account: Account) -> None:
    batch = start(account, 3)
    lifecycle.cancel(batch, actor="me")
    results.finalize(batch.pk)

    assert Batch.objects.get(pk=batch.pk).failed == 3
    assert not BatchMinute.objects.exists()


def test_each_minute_is_rolled_up_once_to_upstream_and_owner(account: Account) -> None:
    user = account.external_users.create(external_id="u")
    for owner in (Owner(account), Owner(account, user), Owner(account, user)):
        run(start(owner, 3), failing=("0",))
    now = database_now() + LATER

    assert traffic.roll_up(now) == 3
    assert traffic.roll_up(now) == 0

    assert sums(TrafficSlice) == sums(OwnerHour) == sums(BatchMinute)
    assert set(TrafficSlice.objects.values_list("model", flat=True)) == {"m"}
    # Two rows of an owner, if an hour ended meanwhile.
    of_user = OwnerHour.objects.filter(account=account, external_user=user)
    of_nobody = OwnerHour.objects.filter(account=account, external_user=None)
    counts = [traffic.total(of.values(*COUNTS)) for of in (of_user, of_nobody)]
    assert [(one["completed"], one["failed"]) for one in counts] == [(4, 2), (2, 1)]


def test_what_comes_later_adds_to_the_same_rows(account: Account) -> None:
    run(start(account, 3))
    traffic.roll_up(database_now() + LATER)
    BatchMinute.objects.update(minute=database_now() - 2 * LATER)  # so that the next is another row
    run(start(account, 4))

    traffic.roll_up(database_now() + LATER)

    assert sums(TrafficSlice)["completed"] == sums(OwnerHour)["completed"] == 7


def test_a_minute_that_may_still_grow_is_left_alone(account: Account) -> None:
    run(start(account, 3))

    assert traffic.roll_up(database_now()) == 0


@pytest.mark.django_db(transaction=True)
def test_many_who_roll_up_at_once_count_each_minute_once() -> None:
    for _ in range(3):
        run(start(AccountFactory(), 3))
    now = database_now() + LATER

    taken = race(*[lambda: traffic.roll_up(now)] * 4)

    assert sum(taken) == 3
    assert sums(TrafficSlice) == sums(OwnerHour) == sums(BatchMinute)


def test_old_rows_go_and_minutes_that_are_not_rolled_up_stay(account: Account) -> None:
    run(start(account, 1))
    BatchMinute.objects.update(minute=database_now() - datetime.timedelta(days=3))
    traffic.forget()
    assert BatchMinute.objects.count() == 1

    traffic.roll_up(database_now())
    traffic.forget()
    assert not BatchMinute.objects.exists()
    assert OwnerHour.objects.count() == 1

    OwnerHour.objects.update(hour=database_now() - datetime.timedelta(days=91))
    TrafficSlice.objects.update(start=database_now() - datetime.timedelta(days=91))
    traffic.forget()
    assert not OwnerHour.objects.exists()
    assert not TrafficSlice.objects.exists()


@pytest.mark.parametrize(
    ("latencies", "share", "expected"),
    [
        ([], 0.5, None),
        ([10], 0.5, 50),
        ([10], 1.0, 100),
        ([0, 4], 0.5, 175),  # half way between 100 and 250
        ([5, 5], 0.5, 100),
        ([0] * 11 + [3], 0.5, LATENCY_EDGES[-1]),
    ],
)
def test_a_percentile_is_estimated_within_its_span(
    latencies: list[int], share: float, expected: float | None
) -> None:
    full = latencies + [0] * (len(LATENCIES) - len(latencies))

    assert traffic.percentile(full, share) == expected


# How fast a batch goes

MINUTE = datetime.timedelta(minutes=1)


def minutes(batch: Batch, counts: dict[int, int], now: datetime.datetime) -> None:
    """Let so many lines have been completed so many minutes ago, each in 200 ms."""
    for ago, count in counts.items():
        minute = (now - ago * MINUTE).replace(second=0, microsecond=0)
        BatchMinute.objects.create(batch=batch, minute=minute, completed=count, latency_1=count)


def test_a_pulse_has_every_minute_from_the_first_line_to_the_last(account: Account) -> None:
    batch, now = start(account, 5), database_now()
    minutes(batch, {12: 30, 9: 60}, now)

    pulse = traffic.pulse(batch, now)

    assert [point.completed for point in pulse.points] == [30, 0, 0, 60]
    assert [point.median is None for point in pulse.points] == [False, True, True, False]
    assert (pulse.step, pulse.lines_a_second) == (MINUTE, 0)


def test_the_present_pace_is_that_of_the_last_minutes(account: Account) -> None:
    batch, now = start(account, 5), database_now().replace(second=30, microsecond=0)
    batch.in_progress_at = now - 60 * MINUTE
    minutes(batch, {30: 10_000, 5: 165, 1: 165}, now)

    pulse = traffic.pulse(batch, now)

    assert pulse.lines_a_second == 1  # 330 in five minutes and a half


def test_a_batch_that_has_just_begun_is_not_held_to_be_slow(account: Account) -> None:
    batch, now = start(account, 5), database_now()
    batch.in_progress_at = now - datetime.timedelta(seconds=2)
    minutes(batch, {0: 10}, now)

    assert traffic.pulse(batch, now).lines_a_second == 5


def test_long_ones_are_told_in_longer_steps(account: Account) -> None:
    batch, now = start(account, 5), database_now()
    minutes(batch, dict.fromkeys(range(0, 600, 7), 1), now)

    pulse = traffic.pulse(batch, now)

    assert len(pulse.points) <= traffic.MOST_POINTS + 1
    assert sum(point.completed for point in pulse.points) == len(range(0, 600, 7))
    assert pulse.step == 10 * MINUTE


def test_without_lines_there_is_no_pulse(account: Account) -> None:
    assert traffic.pulse(start(account, 1), database_now()).points == []
