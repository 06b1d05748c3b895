"""Pause, resume and priority: what an operator may change about lines that are not called yet."""

import pytest

from accounts.models import Account
from api.clock import database_now
from batches import lifecycle, results, validation
from batches.claims import Hand, claim_shards
from batches.hints import waiting
from batches.models import TERMINAL, Batch, Priority, Status
from batches.serializers import represent_batch
from batches.sweep import claimable_shards
from batches.verification import verify
from tests.batches.factories import (
    PATHS,
    make_engine,
    make_upstream,
    overdue,
    reach,
    request_lines,
    start,
    submit,
)

IDLE = Hand()


def paused(batch: Batch) -> Batch:
    lifecycle.pause(batch, actor="anna", reason="costs")
    batch.refresh_from_db()
    return batch


def test_no_line_of_a_paused_batch_is_claimed_until_it_is_resumed(account: Account) -> None:
    batch = paused(start(account, 3))
    assert (batch.paused_by, batch.pause_reason) == ("anna", "costs")
    assert claim_shards(make_engine(), 9, IDLE) == []
    assert claimable_shards(database_now(), 5) == 0

    lifecycle.resume(batch)

    assert (batch.paused_at, batch.paused_by, batch.pause_reason) == (None, "", "")
    assert waiting("engine") == 1
    assert len(claim_shards(make_engine(), 9, IDLE)) == 1


def test_clients_go_on_seeing_in_progress(account: Account) -> None:
    batch = start(account, 3)
    before = represent_batch(batch)

    assert represent_batch(paused(batch)) == before


def test_the_window_of_a_paused_batch_goes_on(account: Account) -> None:
    batch = overdue(paused(start(account, 3)))

    results.finalize(batch.pk)

    batch.refresh_from_db()
    assert (batch.status, batch.failed, batch.paused_at) == (Status.EXPIRED, 3, None)
    assert verify(batch) == []


def test_a_paused_batch_can_be_cancelled(account: Account) -> None:
    batch = paused(start(account, 3))
    lifecycle.cancel(batch, actor="anna")

    results.finalize(batch.pk)

    batch.refresh_from_db()
    assert (batch.status, batch.paused_at, batch.paused_by) == (Status.CANCELLED, None, "")


def test_a_batch_that_is_paused_while_it_is_validated_waits_then(account: Account) -> None:
    make_upstream()
    batch = paused(submit(account, request_lines(2)))

    validation.validate(batch.pk)

    batch.refresh_from_db()
    assert batch.status == Status.IN_PROGRESS
    assert claim_shards(make_engine(), 9, IDLE) == []


def test_pausing_and_resuming_twice_is_once(account: Account) -> None:
    batch = paused(start(account, 3))
    at = batch.paused_at
    lifecycle.pause(batch, actor="ben", reason="other")
    assert (batch.paused_at, batch.paused_by) == (at, "anna")

    lifecycle.resume(batch)
    lifecycle.resume(batch)
    assert waiting("engine") == 1


@pytest.mark.parametrize("status", list(PATHS))
def test_only_what_has_lines_to_call_can_be_paused_or_get_a_priority(
    account: Account, status: Status
) -> None:
    batch = reach(submit(account, request_lines(2)), status)
    can = status in (Status.VALIDATING, Status.IN_PROGRESS)

    for act in (
        lambda: lifecycle.pause(batch, actor="anna"),
        lambda: lifecycle.prioritize(batch, Priority.HIGH),
    ):
        if can:
            act()
        else:
            with pytest.raises(Batch.Conflict, match=f"is {Status(status).label} and cannot"):
                act()
    assert (batch.paused_at is not None) == (batch.priority == Priority.HIGH) == can


def test_ending_ends_the_pause_in_every_way(account: Account) -> None:
    for end in TERMINAL:
        batch = submit(account, request_lines(2))
        lifecycle.pause(batch, actor="anna")
        assert reach(batch, end).paused_at is None


def test_a_higher_priority_comes_first_whoever_the_owner_is(
    account: Account, settings: object
) -> None:
    settings.BATCH_SHARD_LINES = 2  # type: ignore[attr-defined]
    first, second, third = (start(account, 4) for _ in range(3))
    lifecycle.prioritize(first, Priority.LOW)
    lifecycle.prioritize(third, Priority.HIGH)

    claimed = [claim.batch for claim in claim_shards(make_engine(), 99, IDLE)]

    assert claimed == [third, third, second, second, first, first]


def test_setting_the_same_priority_again_changes_nothing(account: Account) -> None:
    batch = start(account, 1)
    lifecycle.prioritize(batch, Priority.HIGH)
    lifecycle.prioritize(batch, Priority.HIGH)

    assert batch.priority == Priority.HIGH
