"""The commands of an operator that act on batches."""

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Account
from batches import results, validation
from batches.management.commands import submit_batch
from batches.models import Batch, Priority, Status
from batches.verification import verify
from files.content import blocks
from files.models import File
from tests.batches.factories import (
    CHAT,
    make_upstream,
    overdue,
    reach,
    request_lines,
    run,
    start,
    submit,
)

UNKNOWN = "batch_" + "0" * 32


def call(*args: Any) -> tuple[str, str, bool]:
    """Run a command; return what it printed, its complaints, and whether it succeeded."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(*args, stdout=out, stderr=err, no_color=True)
    except CommandError as error:
        return out.getvalue(), f"{err.getvalue()}{error}", False
    return out.getvalue(), err.getvalue(), True


def status(batch: Batch) -> str:
    batch.refresh_from_db()
    return batch.status


@pytest.fixture
def batch(account: Account) -> Batch:
    return start(account, 2)


def completed(batch: Batch, failing: tuple[str, ...] = ()) -> Batch:
    run(batch, failing=failing)
    results.finalize(batch.pk)
    assert status(batch) == Status.COMPLETED
    return batch


# cancel_batch


def test_cancel_batch_says_what_has_become_of_each(batch: Batch, account: Account) -> None:
    other = start(account, 1)
    out, _, succeeded = call("cancel_batch", batch.pk, other.pk, "--reason", "by mistake")

    assert succeeded
    assert out == f"{batch.pk}: cancelling\n{other.pk}: cancelling\n"
    last = batch.history.latest("id")
    assert last.actor.startswith("operator ")
    assert last.reason == "by mistake"


def test_cancel_batch_does_what_it_can_and_fails_for_the_rest(
    batch: Batch, account: Account
) -> None:
    ended = reach(submit(account, request_lines(1)), Status.FAILED)
    out, err, succeeded = call("cancel_batch", UNKNOWN, ended.pk, batch.pk)

    assert not succeeded
    assert out == f"{batch.pk}: cancelling\n"
    assert f"There is no batch {UNKNOWN}." in err
    assert f"{ended.pk} is failed and cannot become cancelling" in err
    assert "2 of the batches could not be acted on" in err


# requeue_batch


def test_requeue_batch_runs_failures_again(batch: Batch) -> None:
    completed(batch, failing=("1",))
    assert call("requeue_batch", batch.pk) == (f"{batch.pk}: in_progress\n", "", True)
    assert (status(batch), batch.completed) == (Status.IN_PROGRESS, 1)


def test_requeue_batch_runs_everything_again_only_when_asked(batch: Batch) -> None:
    completed(batch)
    assert not call("requeue_batch", batch.pk)[2]
    assert status(batch) == Status.COMPLETED

    assert call("requeue_batch", batch.pk, "--all")[2]
    assert (status(batch), batch.completed) == (Status.IN_PROGRESS, 0)


def test_requeue_batch_tells_that_the_input_is_gone(batch: Batch) -> None:
    completed(batch, failing=("1",))
    File.objects.get(pk=batch.input_file_id).delete()
    _, err, succeeded = call("requeue_batch", batch.pk)
    assert not succeeded
    assert f"{batch.pk} cannot run again: its input file is gone." in err


# expire_batches


def test_expire_batches_ends_those_that_are_overdue(batch: Batch, account: Account) -> None:
    late = overdue(start(account, 2))
    out, _, succeeded = call("expire_batches")

    assert (out, succeeded) == (f"{late.pk}: expired\n", True)
    assert (status(late), late.failed) == (Status.EXPIRED, 2)
    assert verify(late) == []
    assert status(batch) == Status.IN_PROGRESS


@pytest.mark.parametrize("named", [False, True])
def test_expire_batches_changes_nothing_in_a_dry_run(account: Account, named: bool) -> None:
    late = overdue(start(account, 1))
    before = Batch.objects.values().get()

    out, _, _ = call("expire_batches", "--dry-run", *([late.pk] if named else []))
    assert out == f"{late.pk}\n1 would expire.\n"
    assert Batch.objects.values().get() == before


def test_expire_batches_with_an_id_closes_its_window_now(batch: Batch) -> None:
    out, _, _ = call("expire_batches", batch.pk, "--reason", "enough")
    assert out == f"{batch.pk}: expired\n"
    last = batch.history.latest("id")
    assert last.actor.startswith("operator ")
    assert last.reason == "enough"


def test_expire_batches_with_the_id_of_an_overdue_one_ends_it(batch: Batch) -> None:
    overdue(batch)
    assert call("expire_batches", batch.pk) == (f"{batch.pk}: expired\n", "", True)


def test_expire_batches_refuses_what_has_ended(batch: Batch) -> None:
    completed(batch)
    _, err, succeeded = call("expire_batches", batch.pk)
    assert not succeeded
    assert f"{batch.pk} is completed and cannot become expired" in err


def test_expire_batches_finds_nothing_to_do(batch: Batch) -> None:
    assert call("expire_batches") == ("", "", True)


# verify_batch


def test_verify_batch_succeeds_when_every_promise_is_kept(batch: Batch) -> None:
    completed(batch, failing=("1",))
    expected = f"{batch.pk}: completed, 1 completed, 1 failed of 2; every promise is kept.\n"
    assert call("verify_batch", batch.pk) == (expected, "", True)


def test_verify_batch_names_every_broken_promise_and_fails(batch: Batch, account: Account) -> None:
    whole = start(account, 1)
    completed(batch)
    Batch.objects.filter(pk=batch.pk).update(total=3)
    out, err, succeeded = call("verify_batch", batch.pk, whole.pk)

    assert not succeeded
    assert out == (
        f"{batch.pk}: The counts do not add up: 2 + 0 is not 3.\n"
        f"{whole.pk}: in_progress, 0 completed, 0 failed of 1; every promise is kept.\n"
    )
    assert "A promise is broken" in err


@pytest.mark.django_db
def test_verify_batch_fails_for_an_unknown_id() -> None:
    assert call("verify_batch", UNKNOWN) == ("", f"There is no batch {UNKNOWN}.", False)


# submit_batch


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(request_lines(3))
    return path


@pytest.mark.django_db
def test_submit_batch_uploads_and_submits(source: Path) -> None:
    make_upstream()
    out, _, succeeded = call(
        "submit_batch", source, "--endpoint", CHAT, "--max-concurrency", "7",
        "--account", "lab", "--external-user", "ann",
    )  # fmt: skip

    batch = Batch.objects.get()
    assert (out, succeeded) == (f"{batch.pk}\n", True)
    assert (batch.status, batch.max_concurrency) == (Status.VALIDATING, 7)
    assert (batch.account.name, batch.external_user.external_id) == ("lab", "ann")
    assert batch.held_file is not None
    assert b"".join(blocks(batch.held_file)) == source.read_bytes()
    assert batch.created_by.startswith("operator ")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere.jsonl", "--endpoint", CHAT], "nowhere.jsonl cannot be read or stored"),
        (["nowhere.jsonl", "--endpoint", "/v1/x"], "invalid choice"),
        (["nowhere.jsonl"], "--endpoint"),
        (["nowhere.jsonl", "--endpoint", CHAT, "--window", "5h"], "--window must be one of"),
    ],
)
def test_submit_batch_says_what_is_wrong(arguments: list[str], complaint: str) -> None:
    _, err, succeeded = call("submit_batch", *arguments)
    assert not succeeded
    assert complaint in err
    assert not Batch.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(("failing", "good"), [((), True), (("1",), False)])
def test_submit_batch_waits_and_saves_the_results(
    source: Path, monkeypatch: pytest.MonkeyPatch, failing: tuple[str, ...], good: bool
) -> None:
    make_upstream()

    def work(_: float) -> None:
        batch = Batch.objects.get()
        validation.validate(batch.pk)
        batch.refresh_from_db()
        run(batch, failing=failing)
        results.finalize(batch.pk)

    monkeypatch.setattr(submit_batch.time, "sleep", work)
    out, err, succeeded = call("submit_batch", source, "--endpoint", CHAT, "--wait")

    batch = Batch.objects.get()
    assert succeeded == good
    assert f"completed: {3 - len(failing)} completed, {len(failing)} failed of 3" in out
    assert len((source.parent / f"{batch.pk}_output.jsonl").read_bytes().splitlines()) == 3 - len(failing)  # fmt: skip
    assert (source.parent / f"{batch.pk}_error.jsonl").exists() != good
    assert good == ("Not every line has a good result" not in err)


@pytest.mark.django_db
def test_submit_batch_shows_why_a_file_was_refused(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.write_bytes(b"{\n")
    monkeypatch.setattr(
        submit_batch.time, "sleep", lambda _: validation.validate(Batch.objects.get().pk)
    )

    _, err, succeeded = call("submit_batch", source, "--endpoint", CHAT, "--wait")
    assert not succeeded
    assert "line 1: This line is not parseable as valid JSON." in err


# pause_batch, resume_batch, prioritize_batch


def test_pause_and_resume_name_who_and_why(batch: Batch) -> None:
    assert call("pause_batch", batch.pk, "--reason", "costs")[2]
    batch.refresh_from_db()
    assert (batch.paused_by.split()[0], batch.pause_reason) == ("operator", "costs")

    assert call("resume_batch", batch.pk)[2]
    batch.refresh_from_db()
    assert batch.paused_at is None


def test_prioritize_takes_a_word(batch: Batch) -> None:
    assert call("prioritize_batch", batch.pk, "--priority", "high")[2]
    batch.refresh_from_db()
    assert batch.priority == Priority.HIGH

    assert not call("prioritize_batch", batch.pk, "--priority", "highest")[2]


def test_an_ended_batch_refuses_them_in_words(batch: Batch) -> None:
    completed(batch)

    _, complaint, succeeded = call("pause_batch", batch.pk)

    assert not succeeded
    assert f"The batch {batch.pk} is completed and cannot be paused." in complaint


def test_requeue_batch_takes_causes(account: Account) -> None:
    batch = completed(start(account, 3), failing=("1",))
    assert not call("requeue_batch", batch.pk, "--cause", "http_500")[2]

    assert call("requeue_batch", batch.pk, "--cause", "http_400", "--cause", "http_500")[2]

    assert status(batch) == Status.IN_PROGRESS
