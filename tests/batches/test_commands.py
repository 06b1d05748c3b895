"""The commands of an operator that act on batches."""

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Account
from batches import results, validation
from batches.management.commands import submit_batch
from batches.models import Batch, Status
from files.content import blocks
from tests.batches.factories import (
    CHAT,
    make_upstream,
    request_lines,
    run,
    start,
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
