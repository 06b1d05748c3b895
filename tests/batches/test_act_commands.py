"""What operators do from a shell: the console's own verbs, by id or by filter, with its refusals, reasons and log."""

import datetime
import json
import re
from typing import Any

import pytest

from accounts.models import Account, ExternalUser, Owner
from api.clock import database_now
from batches import results
from batches.models import Batch, Priority, Status
from batches.verification import verify
from console import acts
from console.models import Act
from files.models import File
from tests.batches.factories import overdue, reach, request_lines, run, start, submit
from tests.batches.test_commands import UNKNOWN, call, completed, status
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db
WHY = ("--reason", "by mistake")


@pytest.fixture
def batch(account: Account) -> Batch:
    return start(account, 2)


def act(*args: Any) -> tuple[list[dict[str, Any]], str, bool]:
    """Run a command with a reason; returns what became of each batch, the complaints, and whether it succeeded."""
    out, err, succeeded = call(*args, *WHY, "--json")
    return json.loads(out)["objects"], err, succeeded


def outcomes(*args: Any) -> dict[str, str]:
    return {one["id"]: one["outcome"] for one in act(*args)[0]}


# What all share


def test_a_table_says_what_has_become_of_each_and_the_log_who_and_why(
    batch: Batch, account: Account
) -> None:
    other = start(account, 1)
    out, _, succeeded = call("cancel_batch", batch.pk, other.pk, *WHY)

    assert succeeded
    assert out.splitlines()[0].split() == ["id", "status", "outcome"]
    assert f"{batch.pk}  cancelling  cancelled" in out
    found = Act.objects.get()
    assert found.operator.startswith("command ")
    assert (found.verb, found.reason, found.done) == ("cancel batches", "by mistake", 2)
    last = batch.history.latest("id")
    assert (last.actor, last.reason) == (found.operator, "by mistake")


def test_what_can_be_done_is_done_and_the_command_fails_for_the_rest(
    batch: Batch, account: Account
) -> None:
    ended = reach(submit(account, request_lines(1)), Status.FAILED)
    became, err, succeeded = act("cancel_batch", UNKNOWN, ended.pk, batch.pk)

    assert not succeeded
    assert f"There is no batch {UNKNOWN}." in err
    assert "2 batches could not be cancelled" in err
    assert {one["id"]: one["refused"] for one in became} == {ended.pk: True, batch.pk: False}
    assert status(batch) == Status.CANCELLING


@pytest.mark.parametrize(
    "command",
    ["cancel_batch", "pause_batch", "resume_batch", "requeue_batch", "expire_batches", "prioritize_batch"],
)  # fmt: skip
def test_nothing_is_done_without_a_reason(command: str, batch: Batch) -> None:
    more = ["--priority", "high"] if command == "prioritize_batch" else []

    _, err, succeeded = call(command, batch.pk, *more)

    assert not succeeded
    assert "--reason is needed" in err
    assert not Act.objects.exists()


def test_nothing_is_done_to_everything_by_accident(batch: Batch) -> None:
    _, err, succeeded = call("cancel_batch", *WHY)

    assert not succeeded
    assert "Say which batches" in err
    assert status(batch) == Status.IN_PROGRESS


def test_a_dry_run_says_what_the_confirm_page_says_and_does_nothing(
    batch: Batch, account: Account
) -> None:
    reach(submit(account, b"{}\n"), Status.FAILED)
    out, _, succeeded = call("cancel_batch", "--account", account.name, "--dry-run")

    assert succeeded
    assert out.startswith("1 batch would be cancelled; nothing is done now.\n")
    assert "2  lines that will not run" in out
    assert f"1  of {account.name}" in out
    assert "1  skipped: failed: nothing to cancel" in out

    told = json.loads(call("cancel_batch", batch.pk, "--dry-run", "--json")[0])
    assert (told["act"], told["ids"], told["skipped"]) == ("cancel batches", [batch.pk], {})
    assert (status(batch), Act.objects.count()) == (Status.IN_PROGRESS, 0)


def test_a_dry_run_counts_the_owners_that_it_does_not_name(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "OWNERS_NAMED", 1)
    others = [start(AccountFactory(name=name), 1).pk for name in ("y", "z")]
    ids = [batch.pk, start(batch.account, 1).pk, *others]

    told = call("cancel_batch", *ids, "--dry-run")[0]

    assert re.search(rf"2 +of {batch.account.name}\n2 +of 2 further owners\n", told)
    known = json.loads(call("cancel_batch", *ids, "--dry-run", "--json")[0])
    assert known["owners"] == {batch.account.name: 2, "y": 1, "z": 1}


def test_batches_are_chosen_by_owner_state_and_age(account: Account) -> None:
    user = ExternalUser.objects.create(account=account, external_id="alice")
    hers = start(Owner(account, user), 1)
    old = start(account, 1)
    Batch.objects.filter(pk=old.pk).update(created_at=database_now() - datetime.timedelta(hours=3))
    other = start(AccountFactory(name="other"), 1)
    other.pause(actor="x")

    def found(*args: str) -> set[str]:
        return {one["id"] for one in json.loads(call("list_batches", *args, "--json")[0])}

    assert found() == {hers.pk, old.pk, other.pk}
    assert found("--external-user", "alice") == {hers.pk}
    assert found("--account", account.name) == {hers.pk, old.pk}
    assert found("--account", account.name, "--older-than", "2h") == {old.pk}
    assert found("--older-than", "1d") == found("--status", "failed") == set()
    assert found("--status", "paused") == {other.pk}
    assert found("--status", "active") == {hers.pk, old.pk, other.pk}
    assert found(old.pk, "--external-user", "alice") == set()
    assert outcomes("cancel_batch", "--older-than", "2h") == {old.pk: "cancelled"}


@pytest.mark.parametrize("age", ["2", "h", "2w", "-2h", "2 h"])
def test_an_age_that_is_none_is_told(age: str) -> None:
    _, err, succeeded = call("list_batches", f"--older-than={age}")

    assert not succeeded
    assert "write it as in 30m, 12h or 7d" in err


def test_a_filter_that_matches_nothing_is_no_failure() -> None:
    assert call("cancel_batch", "--account", "nobody", *WHY) == ("Nothing matches.\n", "", True)


# requeue_batch


def test_requeue_batch_runs_failures_again(batch: Batch) -> None:
    completed(batch, failing=("1",))

    assert outcomes("requeue_batch", batch.pk) == {batch.pk: "requeued"}
    assert (status(batch), batch.completed) == (Status.IN_PROGRESS, 1)


def test_requeue_batch_runs_everything_again_only_when_asked(batch: Batch) -> None:
    completed(batch)
    assert not act("requeue_batch", batch.pk)[2]
    assert status(batch) == Status.COMPLETED

    assert act("requeue_batch", batch.pk, "--all")[2]
    assert (status(batch), batch.completed) == (Status.IN_PROGRESS, 0)


def test_requeue_batch_tells_that_the_input_is_gone(batch: Batch) -> None:
    completed(batch, failing=("1",))
    File.objects.get(pk=batch.input_file_id).delete()

    ((_, outcome),) = outcomes("requeue_batch", batch.pk).items()
    assert "its input file is gone" in outcome


def test_requeue_batch_takes_causes_and_lines(account: Account) -> None:
    batch = completed(start(account, 3), failing=("1", "2"))
    assert not act("requeue_batch", batch.pk, "--cause", "http_500")[2]

    became = outcomes("requeue_batch", batch.pk, "--lines", "1-2")
    assert became == {batch.pk: "requeued 1 of 2 failed lines"}
    run(batch)
    results.finalize(batch.pk)

    became = outcomes("requeue_batch", batch.pk, "--cause", "http_400", "--cause", "http_500")
    assert became == {batch.pk: "requeued 1 of 1 failed lines"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--lines", "1"], "--lines goes with the id of one batch"),
        (["batch_1", "--lines", "x"], "is no number of a line"),
        (["batch_1", "--lines", "1", "--all"], "not allowed with"),
    ],
)
def test_lines_that_cannot_be_meant_are_told(arguments: list[str], complaint: str) -> None:
    _, err, succeeded = call("requeue_batch", "--account", "x", *arguments, *WHY)

    assert not succeeded
    assert complaint in err


# expire_batches


def test_expire_batches_ends_those_that_are_overdue(batch: Batch, account: Account) -> None:
    late = overdue(start(account, 2))
    assert f"{late.pk}  in_progress  would expire" in call("expire_batches", "--dry-run")[0]

    out, _, succeeded = call("expire_batches")

    assert succeeded
    assert f"{late.pk}  expired  its window has closed" in out
    assert (status(late), late.failed) == (Status.EXPIRED, 2)
    assert verify(late) == []
    assert status(batch) == Status.IN_PROGRESS
    assert not Act.objects.exists()
    assert call("expire_batches")[0] == "No batch is overdue.\n"


def test_expire_batches_tells_pipes_what_was_overdue(account: Account) -> None:
    assert json.loads(call("expire_batches", "--json")[0]) == {"act": None, "objects": []}
    late = overdue(start(account, 1))

    for option, state, outcome in (
        ("--dry-run", "in_progress", "would expire"),
        ("--json", "expired", "its window has closed"),
    ):
        told = json.loads(call("expire_batches", option, "--json")[0])
        assert told["objects"] == [{"id": late.pk, "status": state, "outcome": outcome}]


@pytest.mark.parametrize("is_late", [False, True])
def test_expire_batches_with_an_id_closes_its_window_and_ends_it(
    is_late: bool, batch: Batch
) -> None:
    if is_late:
        overdue(batch)

    became, _, succeeded = act("expire_batches", batch.pk)

    assert succeeded
    told = {"outcome": "expired", "refused": False, "status": "expired"}
    assert became == [{"id": batch.pk, "name": batch.pk} | told]
    assert is_late or batch.history.latest("id").reason == "by mistake"


def test_expire_batches_refuses_what_has_ended(batch: Batch) -> None:
    completed(batch)

    assert not act("expire_batches", batch.pk)[2]


# pause_batch, resume_batch, prioritize_batch


def test_pause_and_resume_name_who_and_why(batch: Batch) -> None:
    assert outcomes("pause_batch", batch.pk) == {batch.pk: "paused"}
    batch.refresh_from_db()
    assert (batch.paused_by.split()[0], batch.pause_reason) == ("command", "by mistake")

    assert outcomes("resume_batch", "--status", "paused") == {batch.pk: "resumed"}
    batch.refresh_from_db()
    assert batch.paused_at is None


def test_prioritize_takes_a_word(batch: Batch) -> None:
    assert outcomes("prioritize_batch", batch.pk, "--priority", "high") == {
        batch.pk: "priority high"
    }
    batch.refresh_from_db()
    assert batch.priority == Priority.HIGH

    assert not call("prioritize_batch", batch.pk, "--priority", "highest", *WHY)[2]


# list_batches, show_batch


def test_list_batches_is_a_table_of_the_newest(account: Account) -> None:
    assert call("list_batches") == ("No batch matches.\n", "", True)
    submit(account, b"{}\n")
    evil = ExternalUser.objects.create(account=account, external_id="a\u202eb")
    newest = start(Owner(account, evil), 2)
    newest.pause(actor="x")

    out, _, _ = call("list_batches", "--limit", "1")

    assert len(out.splitlines()) == 2
    assert f"{newest.pk}  {account.name} / a⟨U+202E⟩b  in_progress, paused  0" in out
    (first, *_) = json.loads(call("list_batches", "--json")[0])
    assert (first["id"], first["external_user"]) == (newest.pk, "a\u202eb")
    assert first["request_counts"]["total"] == 2


def test_show_batch_tells_how_far_why_not_and_what_was(account: Account) -> None:
    batch = start(account, 3, metadata={"project": "north"})
    batch.pause(actor="operator anna", reason="too dear")

    out, _, succeeded = call("show_batch", batch.pk)

    assert succeeded
    assert "paused     by operator anna: too dear" in out
    assert "lines      0 of 3 (0 %), 0 failed" in out
    assert "It is paused by operator anna: too dear" in out
    assert "metadata   project=north" in out
    assert "in_progress  validation" in out


def test_show_batch_tells_why_lines_failed(batch: Batch) -> None:
    completed(batch, failing=("1",))

    assert "1      http_400" in call("show_batch", batch.pk)[0]
    told = json.loads(call("show_batch", batch.pk, "--json")[0])
    assert (told["status"], told["causes"], told["seconds_left"]) == (
        "completed",
        {"http_400": 1},
        None,
    )
    assert told["history"][0]["from"] is None
    assert told["history"][-1]["to"] == "completed"
    assert call("show_batch", UNKNOWN) == ("", f"There is no batch {UNKNOWN}.", False)
