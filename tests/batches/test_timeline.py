"""What happened to a batch, in one order."""

import datetime
from typing import Any

from accounts.models import Account
from api.clock import database_now
from batches import acts as verbs
from batches import lifecycle, looks, timeline
from batches.models import Batch, Status
from console import acts
from console.acts import By, Verb
from tests.batches.factories import reach, start, submit

ANNA = By("operator anna")


def do(verb: Verb, batch: Batch, reason: str) -> None:
    acts.carry_on(acts.begin(verb, ANNA, Batch.objects.filter(pk=batch.pk), reason=reason))


def told(batch: Batch) -> list[tuple[str, str, str]]:
    return [(event.what, event.who, event.why) for event in timeline.of(batch)]


def test_moves_and_acts_stand_in_one_order_and_an_act_that_moved_it_stands_once(
    account: Account, django_assert_num_queries: Any
) -> None:
    batch = start(account, 2)
    do(verbs.PAUSE, batch, "costs")
    do(verbs.CANCEL, batch, "ticket 4711")
    do(verbs.CANCEL, batch, "twice")

    with django_assert_num_queries(1):
        events = timeline.of(batch)

    assert told(batch) == [
        ("Created", "test", ""),
        ("Checked, and in progress", "validation", ""),
        ("Pause batches: paused", "operator anna", "costs"),
        ("Cancelling", "operator anna", "ticket 4711"),
        ("Cancel batches: refused: it is cancelled already", "operator anna", "twice"),
    ]
    assert [event.act_id is not None for event in events] == [False, False, True, True, True]
    assert events[0].since is None
    assert all(event.since >= datetime.timedelta(0) for event in events[1:] if event.since)


def test_a_requeue_is_told_by_its_run(account: Account) -> None:
    batch = start(account, 2)
    batch.move(Status.EXPIRED, actor="clock")

    lifecycle.requeue(batch, actor="operator anna", reason="again", rerun=lifecycle.Rerun(True))

    assert told(batch)[-2:] == [
        ("Expired", "clock", ""),
        ("Requeued: run 2", "operator anna", "again"),
    ]


def test_looks_at_content_are_no_events(account: Account) -> None:
    batch = submit(account, b"{}\n")
    looks.at_line(ANNA, batch, 1)
    looks.at_errors(ANNA, batch, database_now())

    assert [what for what, _, _ in told(batch)] == ["Created"]


def test_of_very_many_the_latest_are_told(account: Account, monkeypatch: Any) -> None:
    monkeypatch.setattr(timeline, "MOST", 2)
    batch = reach(submit(account, b"{}\n"), Status.CANCELLED)

    assert [what for what, _, _ in told(batch)] == ["Cancelling", "Cancelled"]
