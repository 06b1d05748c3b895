"""Why a batch is not moving, and who is ahead of it."""

from typing import Any

import pytest

from accounts.models import Account, Owner
from api.clock import database_now
from batches import lifecycle, standing
from batches.models import Batch, Engine, Host, Priority, Share, Status, Upstream
from batches.standing import NO_WORKER
from tests.batches.factories import (
    HOUR,
    PATHS,
    claimed,
    make_engine,
    reach,
    request_lines,
    start,
    submit,
)
from tests.factories import AccountFactory


@pytest.fixture
def worker(db: None) -> Host:
    now = database_now()
    return Host.objects.create(
        id="h", name="h", pid=1, version="1", slots=1, started_at=now, lease_expires_at=now + HOUR
    )


def reasons(batch: Batch) -> list[str]:
    return standing.explain(Batch.objects.select_related("upstream").get(pk=batch.pk)).reasons


def share(engine: Engine, slots: int, **thing: Any) -> None:
    Share.objects.create(engine=engine, wanted=slots, slots=slots, **thing)


def test_nothing_holds_a_batch_up_whose_lines_are_called(account: Account, worker: Host) -> None:
    assert reasons(start(account, 3)) == ["Nothing holds it up: its lines are being called."]


@pytest.mark.parametrize("status", list(PATHS))
def test_every_state_is_explained(account: Account, status: Status, worker: Host) -> None:
    (reason,) = reasons(reach(submit(account, request_lines(2)), status))[:1]

    assert reason.endswith((".", "cancelled.", "expired."))


def test_without_a_worker_nothing_moves(account: Account) -> None:
    assert NO_WORKER in reasons(start(account, 3))
    assert reasons(submit(account, request_lines(2))) == [NO_WORKER]


def test_a_pause_is_named_with_who_and_why(account: Account, worker: Host) -> None:
    batch = start(account, 3)
    lifecycle.pause(batch, actor="operator anna", reason="costs")

    assert reasons(batch)[0] == "It is paused by operator anna: costs"


def test_trouble_of_the_upstream_is_named(account: Account, worker: Host) -> None:
    batch = start(account, 3)
    upstream = Upstream.objects.get()
    Upstream.note_down(upstream.pk, "HTTP 502")
    assert f"The upstream {upstream} has answered nobody since" in reasons(batch)[0]
    assert "(HTTP 502)" in reasons(batch)[0]

    upstream.pause("The key is refused.")
    assert reasons(batch)[0] == f"The upstream {upstream} is paused: The key is refused."

    Batch.objects.update(upstream=None)
    assert "No upstream was there for its model" in reasons(batch)[0]


def test_limits_that_are_used_up_are_named(account: Account, worker: Host) -> None:
    batch = start(account, 3, max_concurrency=4)
    upstream = Upstream.objects.get()
    Upstream.objects.update(limit=10)
    engine = make_engine()
    share(engine, 4, batch=batch)
    share(engine, 10, upstream=upstream)

    assert reasons(batch) == [
        "The upstream's limit of 10 calls at once is used up, by all together.",
        "Its own limit of 4 calls at once is used up.",
    ]


def test_shares_of_the_dead_use_up_nothing(account: Account, worker: Host) -> None:
    batch = start(account, 3, max_concurrency=4)
    share(make_engine(lease=-HOUR), 4, batch=batch)

    assert reasons(batch) == ["Nothing holds it up: its lines are being called."]


def test_lines_that_are_all_in_hand_are_said_to_be(account: Account, worker: Host) -> None:
    batch = start(account, 3)
    claimed(batch.shards.get())

    assert reasons(batch) == ["Engines hold all that is left: 1 shard."]


def test_a_step_in_work_and_the_queue_before_it_are_told(account: Account, worker: Host) -> None:
    first, second = (submit(account, request_lines(2)) for _ in range(2))
    assert reasons(second) == ["It waits for its input file to be checked; 1 batch came before it."]
    assert "it is the next" in reasons(first)[0]

    first.claim_step(60)
    assert reasons(first)[0].startswith("A worker is at it")


def test_who_shares_the_upstream_is_told_those_who_go_first_in_front(
    account: Account, worker: Host
) -> None:
    batch = start(account, 5)
    own = start(account, 7)
    Batch.objects.filter(pk=own.pk).update(expires_at=batch.expires_at - HOUR)
    user = account.external_users.create(external_id="u-1")
    theirs = start(Owner(account, user), 9)
    claimed(theirs.shards.get())
    ahead = start(AccountFactory(name="vip"), 2)
    lifecycle.prioritize(ahead, Priority.HIGH)
    behind = start(AccountFactory(name="idle"), 2)
    lifecycle.prioritize(behind, Priority.LOW)

    found = standing.explain(Batch.objects.select_related("upstream").get(pk=batch.pk))

    assert (found.own_batches_ahead, found.own_lines_ahead) == (1, 7)
    told = [
        (one.account, one.external_user, one.open_lines, one.in_hand, one.first)
        for one in found.rivals
    ]
    assert told == [("vip", None, 2, 0, True), (account.name, "u-1", 9, 9, False)]
