"""Pause, resume, expire, prioritise, and requeue in part: told exactly beforehand, done through the domain, or refused."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import Account
from batches import acts, choosing, results
from batches.models import Batch, Priority, Status
from console.acts import By, Verb, begin, carry_on
from console.models import Act
from files.models import File
from files.storage import storage
from tests.batches.factories import reach, run, start, submit
from tests.console.operators import ask, button_of, confirm, with_permissions

pytestmark = pytest.mark.django_db
ANNA = By("operator anna")
PERMISSIONS = {
    verb: verb.permission
    for verb in (
        acts.CANCEL,
        acts.PAUSE,
        acts.RESUME,
        acts.PRIORITIZE,
        acts.EXPIRE,
        acts.REQUEUE,
        acts.REQUEUE_ALL,
        acts.REQUEUE_CAUSES,
        acts.REQUEUE_LINES,
    )
}


def do(verb: Verb, batch: Batch, **parameters: Any) -> str:
    """Do it to one batch; returns what came of it."""
    rows = Batch.objects.filter(pk=batch.pk)
    act = begin(verb, ANNA, rows, reason="because", parameters=parameters)
    carry_on(act)
    batch.refresh_from_db()
    return act.affected.get().outcome


def told(verb: Verb) -> Any:
    return verb.preview(Batch.objects.all())


def ended(account: Account, lines: int = 5, failing: tuple[str, ...] = ("1", "3")) -> Batch:
    batch = run(start(account, lines), failing=failing)
    results.finalize(batch.pk)
    batch.refresh_from_db()
    return batch


@pytest.fixture
def operator() -> Client:
    return with_permissions("batches.view_batch", *set(PERMISSIONS.values()))


# What runs


def test_a_batch_is_paused_with_who_and_why_and_resumed(account: Account) -> None:
    batch = start(account, 3)

    assert do(acts.PAUSE, batch) == "paused"
    assert (batch.paused_by, batch.pause_reason) == ("operator anna", "because")
    assert do(acts.PAUSE, batch) == "refused: it is paused already"

    assert do(acts.RESUME, batch) == "resumed"
    assert batch.paused_at is None
    assert do(acts.RESUME, batch) == "refused: it is not paused"


def test_what_can_be_told_of_a_pause(account: Account) -> None:
    do(acts.PAUSE, start(account, 3))
    start(account, 4)
    submit(account, b"{}\n")
    ended(account)

    assert told(acts.PAUSE).sums == {
        "lines that wait": 4,
        "batches whose lines are not counted yet": 1,
    }
    assert told(acts.PAUSE).skipped == {"paused already": 1, "completed: it has ended": 1}
    assert told(acts.RESUME).sums == {"lines that go on": 3}
    assert told(acts.RESUME).skipped == {"not paused": 2, "completed: it has ended": 1}


def test_a_window_is_closed_now(account: Account) -> None:
    batch = start(account, 3)
    assert told(acts.EXPIRE).sums["lines that will not run"] == 3

    assert do(acts.EXPIRE, batch) == "expired"

    assert (batch.closed_by, batch.close_reason) == ("operator anna", "because")
    done = reach(submit(account, b"{}\n"), Status.FINALIZING)
    assert do(acts.EXPIRE, done).startswith("refused: The batch")
    assert told(acts.EXPIRE).skipped == {"finalizing: past running": 1}


def test_a_priority_is_set_by_its_word(account: Account) -> None:
    batch = start(account, 3)

    assert do(acts.PRIORITIZE, batch, priority="high") == "priority high"

    assert batch.priority == Priority.HIGH
    assert do(acts.PRIORITIZE, batch, priority="high") == "refused: its priority is high already"
    assert told(acts.PRIORITIZE).sums == {"lines still to run": 3, "now high": 1}
    assert do(acts.PRIORITIZE, ended(account), priority="low").startswith("refused: The batch")


# What has ended


def test_a_requeue_by_cause_leaves_the_others(account: Account) -> None:
    batch = ended(account)

    assert do(acts.REQUEUE_CAUSES, batch, causes=["http_500"]).startswith("refused: The batch")
    assert do(acts.REQUEUE_CAUSES, batch, causes=["http_400"]) == "requeued 2 of 2 failed lines"

    assert (batch.status, batch.completed, batch.failed) == (Status.IN_PROGRESS, 3, 0)


def test_chosen_lines_run_again_and_the_others_stay(account: Account) -> None:
    batch = ended(account)

    assert do(acts.REQUEUE_LINES, batch, lines="1-2") == "requeued 1 of 2 failed lines"

    assert (batch.status, batch.completed, batch.failed) == (Status.IN_PROGRESS, 3, 1)


@pytest.mark.parametrize(
    ("verb", "parameters"),
    [(acts.REQUEUE_CAUSES, {"causes": ["x"]}), (acts.REQUEUE_LINES, {"lines": "1"})],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_batch_without_lines_is_not_run_as_a_whole_instead(
    verb: Verb, parameters: dict[str, Any], account: Account
) -> None:
    refused = reach(submit(account, b"{}\n"), Status.FAILED)

    assert do(verb, refused, **parameters) == "refused: no line has failed"
    assert refused.status == Status.FAILED


def test_what_can_be_told_of_a_requeue_by_cause(account: Account) -> None:
    ended(account)
    ended(account, failing=())
    gone = ended(account)
    File.objects.get(pk=gone.input_file_id).delete()

    preview = told(acts.REQUEUE_CAUSES)

    assert preview.sums == {"good results, which are kept": 3, "failed lines to choose from": 2}
    assert preview.skipped == {
        "completed: no line has failed": 1,
        "the input file is gone": 1,
    }
    assert told(acts.REQUEUE).skipped == preview.skipped


def test_a_batch_that_was_never_checked_through_is_told_apart(account: Account) -> None:
    reach(submit(account, b"{}\n"), Status.FAILED)

    assert told(acts.REQUEUE).sums["batches whose input is checked again first"] == 1


# The questions


def test_the_causes_to_choose_from_come_with_their_counts(
    operator: Client, account: Account
) -> None:
    first, second = ended(account), ended(account, failing=("0",))

    page = ask(operator, acts.REQUEUE_CAUSES.slug, first, second)

    assert "http_400 (3 lines)" in page.content.decode()
    confirm(operator, page, **{"with-causes": ["http_400"]})
    assert Act.objects.get().parameters == {"causes": ["http_400"]}
    assert Batch.objects.filter(status=Status.IN_PROGRESS).count() == 2


def test_what_a_link_suggests_is_chosen(operator: Client, account: Account) -> None:
    batch = ended(account)

    page = operator.get(button_of(batch, acts.REQUEUE_CAUSES), {"causes": "http_400"})
    assert "checked" in page.content.decode()

    page = operator.get(button_of(batch, acts.REQUEUE_LINES), {"lines": "2, 4"})
    assert 'value="2, 4"' in page.content.decode()


def test_lines_are_chosen_by_custom_id_too_and_kept_as_numbers(
    operator: Client, account: Account
) -> None:
    batch = ended(account)
    page = operator.get(button_of(batch, acts.REQUEUE_LINES))

    confirm(operator, page, **{"with-lines": "2", "with-custom_ids": "3\n0\nnone\n"})

    act = Act.objects.get()
    assert act.parameters == {"lines": "2, 4"}
    assert act.affected.get().outcome == "requeued 2 of 2 failed lines"


@pytest.mark.parametrize(
    ("lines", "custom_ids", "complaint"),
    [
        ("1", "", "None of these lines has failed."),
        ("", "", "None of these lines has failed."),
        ("x", "", "is no number of a line"),
        ("1-2000", "", "More than 1,000 lines"),
        ("0, 999", "nobody", "None of these lines has failed."),
    ],
)
def test_lines_that_cannot_be_chosen_are_told(
    lines: str, custom_ids: str, complaint: str, operator: Client, account: Account
) -> None:
    page = operator.get(button_of(ended(account), acts.REQUEUE_LINES))

    page = confirm(operator, page, **{"with-lines": lines, "with-custom_ids": custom_ids})

    assert complaint in page.content.decode()
    assert not Act.objects.exists()


def test_results_that_are_lost_are_told(operator: Client, account: Account) -> None:
    batch = ended(account)
    page = operator.get(button_of(batch, acts.REQUEUE_LINES))
    for shard in batch.shards.all():
        storage().delete(shard.segments.get().blob_id)

    page = confirm(operator, page, **{"with-lines": "2"})

    assert "The results cannot be read" in page.content.decode()


def test_chosen_lines_are_no_act_on_a_selection(operator: Client, account: Account) -> None:
    batch = ended(account)

    ask(operator, acts.REQUEUE_LINES.slug, batch)

    assert not Act.objects.exists()
    assert (
        acts.REQUEUE_LINES.slug not in operator.get(button_of(batch, acts.REQUEUE)).content.decode()
    )


@pytest.mark.parametrize("verb", PERMISSIONS, ids=lambda verb: verb.name)
def test_each_act_has_its_permission(verb: Verb, account: Account) -> None:
    others = set(PERMISSIONS.values()) - {verb.permission}
    client = with_permissions("batches.view_batch", *others)
    batch = start(account, 1)

    assert client.get(button_of(batch, verb)).status_code == 403
    assert client.post(button_of(batch, verb), {"token": "t", "reason": "r"}).status_code == 403


# Numbers


def test_numbers_are_read_as_they_are_written() -> None:
    numbers = [1, 2, 3, 7, 9, 10]
    assert choosing.written(numbers) == "1-3, 7, 9-10"
    assert choosing.read_numbers("1-3; 7,9\n10") == numbers
    assert choosing.read_numbers(choosing.written(range(5, 1005))) == list(range(5, 1005))
    assert choosing.read_numbers("9-3") == []


def test_numbers_beyond_the_end_are_nowhere(account: Account) -> None:
    batch = ended(account)

    assert choosing.places(batch, [0, 2, 5, 6]) == {0: [1, 4]}
