"""Submit, cancel and expire, as the API, the commands and the admin do it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from pytest_django import Settings

from accounts.models import Account, ExternalUser, Owner
from api.clock import database_now
from batches import lifecycle, results
from batches.hints import waiting_calls
from batches.models import Batch, Status
from batches.verification import verify
from tests.batches.factories import CHAT, HOUR, overdue, reach, request_lines, start, submit
from tests.factories import FileFactory


@pytest.fixture
def batch(account: Account) -> Batch:
    return submit(account, request_lines(2))


def hints() -> set[Any]:
    return waiting_calls("control", 100)


# Submit


def test_a_submitted_batch_validates_and_holds_its_file(batch: Batch) -> None:
    assert batch.status == Status.VALIDATING
    assert batch.held_file_id == batch.input_file_id
    assert batch.expires_at == batch.created_at + 24 * HOUR
    move = batch.history.get()
    assert (move.from_status, move.to_status, move.actor) == ("", "validating", "test")
    assert (move.at, move.attempt) == (batch.created_at, 1)
    assert hints() == {("validate_batch", (batch.pk,))}


def test_a_batch_that_is_not_committed_is_not_validated(account: Account) -> None:
    with transaction.atomic():
        submit(account, request_lines(1))
        transaction.set_rollback(True)
    assert hints() == set()


@pytest.mark.parametrize(
    ("asked", "given"), [({}, 6), ({"max_concurrency": 3}, 3), ({"max_concurrency": 99}, 9)]
)
def test_concurrency_has_a_default_and_a_cap(
    account: Account, settings: Settings, asked: dict[str, int], given: int
) -> None:
    settings.BATCH_DEFAULT_LINE_CONCURRENCY, settings.BATCH_MAX_LINE_CONCURRENCY = 6, 9
    assert submit(account, request_lines(1), **asked).max_concurrency == given


def test_a_file_that_is_not_the_owners_or_has_expired_is_not_held(account: Account) -> None:
    user = ExternalUser.objects.create(account=account, external_id="user")
    for file in (
        FileFactory(Owner(account, user)),
        FileFactory(account, expires_at=database_now() - HOUR),
    ):
        asked = {"input_file_id": file.pk, "endpoint": CHAT, "completion_window": "24h"}
        batch = lifecycle.submit(Owner(account), "test", **asked)
        assert (batch.input_file_id, batch.held_file) == (file.pk, None)


@pytest.mark.parametrize(("text", "hours"), [("24h", 24), ("1h", 1), ("168h", 168)])
def test_a_window_is_so_many_hours(text: str, hours: int) -> None:
    assert lifecycle.window(text) == hours * HOUR


# Cancel


@pytest.mark.parametrize("status", [Status.VALIDATING, Status.IN_PROGRESS])
def test_a_running_batch_is_cancelled(batch: Batch, status: Status) -> None:
    reach(batch, status)
    lifecycle.cancel(batch, actor="me", reason="why")

    assert Batch.objects.get().status == Status.CANCELLING
    last = batch.history.latest("id")
    assert (last.from_status, last.actor, last.reason) == (status, "me", "why")
    assert ("finalize_batch", (batch.pk,)) in hints()


@pytest.mark.parametrize("status", [Status.CANCELLING, Status.CANCELLED])
def test_cancelling_twice_is_once(batch: Batch, status: Status) -> None:
    stale = Batch.objects.get()
    reach(batch, status)
    before = Batch.objects.values().get()

    for one in (batch, stale):
        lifecycle.cancel(one, actor="me")
        assert one.status == status
    assert Batch.objects.values().get() == before


@pytest.mark.parametrize(
    "status", [Status.FINALIZING, Status.COMPLETED, Status.FAILED, Status.EXPIRED]
)
@pytest.mark.parametrize("act", [lifecycle.cancel, lifecycle.expire])
def test_what_has_its_answers_or_has_ended_is_left_alone(
    batch: Batch, status: Status, act: Callable[..., None]
) -> None:
    stale = Batch.objects.get()
    reach(batch, status)
    before, rung = Batch.objects.values().get(), hints()

    for one in (batch, stale):
        with pytest.raises(Batch.Conflict) as conflict:
            act(one, actor="me")
        assert conflict.value.status == status
    assert Batch.objects.values().get() == before
    assert hints() == rung


# Expire


@pytest.mark.parametrize("status", [Status.VALIDATING, Status.IN_PROGRESS])
def test_a_closed_window_ends_the_batch_with_the_reason_in_its_history(
    batch: Batch, status: Status
) -> None:
    reach(batch, status)
    lifecycle.expire(batch, actor="me", reason="why")
    assert batch.expires_at <= database_now()
    assert ("finalize_batch", (batch.pk,)) in hints()

    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert batch.status == Status.EXPIRED
    last = batch.history.latest("id")
    assert (last.from_status, last.actor, last.reason) == (status, "me", "why")


def test_closing_a_window_twice_is_once(account: Account) -> None:
    batch = start(account, 1)
    lifecycle.expire(batch, actor="first", reason="a")
    lifecycle.expire(batch, actor="second", reason="b")
    assert (batch.closed_by, batch.close_reason) == ("first", "a")

    late = overdue(start(account, 1))
    lifecycle.expire(late, actor="me")
    results.finalize(late.pk)
    assert late.history.latest("id").actor == "clock"
    assert verify(Batch.objects.get(pk=late.pk)) == []
