"""What operators do to batches and upstreams: told beforehand, done through the domain, carried on when it is much."""

from typing import Any

import pytest
from django.conf import settings

from accounts.models import Account, ExternalUser, Owner
from batches import acts, tasks
from batches.hints import waiting_calls
from batches.models import Batch, Status, Upstream
from batches.sweep import sweep
from console.acts import By, Verb, begin, carry_on
from console.models import Act
from files.models import File
from tests.batches.factories import make_upstream, reach, run, start, submit

pytestmark = pytest.mark.django_db
ANNA = By("operator anna")


def do(verb: Verb, *rows: Any, reason: str = "because") -> Act:
    of_verb = verb.model._default_manager.filter(pk__in=[row.pk for row in rows]).order_by("pk")
    act = begin(verb, ANNA, of_verb, reason=reason)
    carry_on(act)
    return act


def outcome(act: Act) -> str:
    return act.affected.get().outcome


def told(verb: Verb) -> Any:
    return verb.preview(Batch.objects.all())


@pytest.fixture
def ended(account: Account) -> Batch:
    """A batch that has ended, one of its two lines failed."""
    batch = run(start(account, 2), failing={"0"})
    tasks.finalize_batch(batch.pk)
    batch.refresh_from_db()
    assert batch.status == Status.COMPLETED
    return batch


def test_cancelling_goes_through_the_domain_with_who_and_why(account: Account) -> None:
    batch = start(account, 1)

    act = do(acts.CANCEL, batch)

    batch.refresh_from_db()
    moved = batch.history.last()
    assert (batch.status, outcome(act)) == (Status.CANCELLING, "cancelled")
    assert moved is not None
    assert (moved.actor, moved.reason) == ("operator anna", "because")


@pytest.mark.parametrize("status", [Status.CANCELLING, Status.CANCELLED])
def test_what_is_cancelled_is_not_cancelled_again(status: Status, account: Account) -> None:
    batch = reach(submit(account, b"{}\n"), status)

    assert outcome(do(acts.CANCEL, batch)) == "refused: it is cancelled already"


@pytest.mark.parametrize("verb", [acts.REQUEUE, acts.REQUEUE_ALL], ids=lambda verb: verb.name)
def test_a_batch_that_runs_is_not_requeued(verb: Verb, account: Account) -> None:
    act = do(verb, start(account, 1))

    assert outcome(act).startswith("refused: The batch")


def test_requeueing_runs_the_failed_lines_again(ended: Batch) -> None:
    assert outcome(do(acts.REQUEUE, ended)) == "requeued"

    ended.refresh_from_db()
    assert (ended.status, ended.completed, ended.failed) == (Status.IN_PROGRESS, 1, 0)


def test_requeueing_all_throws_good_results_away(ended: Batch) -> None:
    assert outcome(do(acts.REQUEUE_ALL, ended)) == "requeued"

    ended.refresh_from_db()
    assert (ended.status, ended.completed) == (Status.IN_PROGRESS, 0)


def test_without_its_input_nothing_is_requeued(ended: Batch) -> None:
    File.objects.filter(pk=ended.input_file_id).delete()

    assert "its input file is gone" in outcome(do(acts.REQUEUE, ended))


def test_what_can_be_told_of_a_requeue(ended: Batch, account: Account) -> None:
    start(account, 3)
    good = run(start(account, 2))
    tasks.finalize_batch(good.pk)

    preview = told(acts.REQUEUE)

    assert preview.sums == {"good results, which are kept": 1, "lines that run again": 1}
    assert preview.skipped == {"completed: no line has failed": 1, "in progress: not ended yet": 1}
    assert told(acts.REQUEUE_ALL).sums == {
        "lines that run again": 4,
        "good results that are thrown away": 3,
    }


def test_those_who_have_most_are_named_first(account: Account) -> None:
    alice = ExternalUser.objects.create(account=account, external_id="alice")
    for owner in (Owner(account), Owner(account, alice), Owner(account, alice)):
        start(owner, 1)

    assert told(acts.CANCEL).whose() == [
        (f"{account.name} / alice", 2),
        (account.name, 1),
    ]


def test_an_upstream_is_paused_with_who_and_why_and_resumed(account: Account) -> None:
    upstream = make_upstream()
    start(account, 1)

    do(acts.PAUSE_UPSTREAM, upstream, reason="new GPUs")
    upstream.refresh_from_db()
    assert upstream.pause_reason == "operator anna: new GPUs"
    assert outcome(do(acts.PAUSE_UPSTREAM, upstream)) == "refused: it is paused already"
    paused = acts.RESUME_UPSTREAM.preview(Upstream.objects.all())

    do(acts.RESUME_UPSTREAM, upstream)
    upstream.refresh_from_db()
    assert upstream.paused_at is None
    assert outcome(do(acts.RESUME_UPSTREAM, upstream)) == "refused: it is not paused"
    assert paused.sums == {"batches that go on": 1}
    assert paused.owners == {account.name: 1}


def test_a_task_goes_on_with_what_is_left(account: Account) -> None:
    start(account, 1)
    act = begin(acts.CANCEL, ANNA, Batch.objects.all(), reason="r")

    tasks.carry_on_act(str(act.pk))

    act.refresh_from_db()
    assert (act.done, act.left) == (1, 0)


def test_a_task_whose_time_is_up_rings_for_the_next(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(account, 1)
    act = begin(acts.CANCEL, ANNA, Batch.objects.all(), reason="r")
    monkeypatch.setattr(acts, "TURN_SECONDS", 0)

    tasks.carry_on_act(str(act.pk))

    assert ("carry_on_act", (str(act.pk),)) in waiting_calls("control", 100)


def test_the_sweep_rings_once_for_an_act_that_nobody_carries_on(account: Account) -> None:
    start(account, 1)
    act = begin(acts.CANCEL, ANNA, Batch.objects.all(), reason="r")
    call = ("carry_on_act", (str(act.pk),))

    sweep()
    sweep()

    assert call in waiting_calls("control", 100)
    carry_on(act)
    assert settings.Q_CLUSTER["orm"] == "default"
    assert sweep() == 0
