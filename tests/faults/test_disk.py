"""F70: a storage that cannot take bytes holds results up and loses none; with space again, all goes on by itself."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.models import Account
from batches import lifecycle, results, salvage
from batches.execution import run_turn
from batches.models import Batch, Segment, Status
from batches.verification import verify
from files.storage import storage
from tests.batches.executor.scripted import reply
from tests.batches.factories import codes_of, ids_of, start
from tests.batches.test_execution import model_server

pytestmark = pytest.mark.django_db(transaction=True)
LINES = 12
REFUSALS = 3  # and then there is space again


@pytest.fixture(autouse=True)
def _quick(settings: Settings) -> None:
    settings.BATCH_SHARD_LINES = 4
    settings.BATCH_DRAIN_SECONDS = 1


def _fail(number: int, times: int, call: Callable[..., object]) -> Callable[..., object]:
    """Return `call`, which fails with this errno so many times first."""
    left = [times]
    lock = threading.Lock()

    def failing(*arguments: object, **named: object) -> object:
        with lock:
            left[0] -= 1
            if left[0] >= 0:
                raise OSError(number, os.strerror(number))
        return call(*arguments, **named)

    return failing


def _files(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file()}


@contextmanager
def _nothing_left_over(directory: Path) -> Iterator[None]:
    """Failed writes leave no file, whole or half: afterwards there is what rows name, and no more."""
    yield
    assert not _files(directory / "tmp")
    named = set(Segment.objects.values_list("blob_id", flat=True))
    keys = {path.parent.name + path.name for path in _files(directory)}
    assert named <= keys
    assert len(keys) == len(named) + 1  # and the input


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("fsync", errno.ENOSPC),
        ("fsync", errno.EIO),
        ("rename", errno.EROFS),
        ("rename", errno.EDQUOT),
    ],
)
def test_results_wait_until_they_can_be_written(
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
    storage_dir: Path,
    call: str,
    number: int,
) -> None:
    with model_server(lambda _: reply()) as server, _nothing_left_over(storage_dir):
        batch = start(account, LINES)
        monkeypatch.setattr(os, call, _fail(number, REFUSALS, getattr(os, call)))
        run_turn(lambda: False)

    assert len(server.calls) == LINES, "a result that waits is not asked for again"
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert (batch.status, batch.completed, verify(batch)) == (Status.COMPLETED, LINES, [])
    assert ids_of(batch.output_file_id) == [str(number) for number in range(LINES)]


def test_a_turn_that_ends_on_a_full_disk_hands_its_shards_back(
    account: Account, monkeypatch: pytest.MonkeyPatch, storage_dir: Path, settings: Settings
) -> None:
    """What could not be recorded is recorded by whoever has space, and not called again."""
    with model_server(lambda _: reply()) as server, _nothing_left_over(storage_dir):
        batch = start(account, LINES)
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", _fail(errno.ENOSPC, 10**6, os.fsync))
            run_turn(lambda: len(server.calls) == LINES)
        batch.refresh_from_db()
        assert (batch.completed, batch.failed) == (0, 0)
        assert not batch.shards.exclude(state="waiting").exists()
        run_turn(lambda: False)
        settings.ORPHAN_GRACE_SECONDS = 0
        salvage.purge()

    assert len(server.calls) == LINES
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert (batch.status, batch.completed, verify(batch)) == (Status.COMPLETED, LINES, [])


def test_an_end_that_cannot_be_written_is_the_same_end_later(
    account: Account, monkeypatch: pytest.MonkeyPatch, storage_dir: Path
) -> None:
    batch = start(account, LINES)
    lifecycle.cancel(batch, actor="test")
    with _nothing_left_over(storage_dir):
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", _fail(errno.ENOSPC, 10**6, os.fsync))
            with pytest.raises(OSError, match="No space"):
                results.finalize(batch.pk)
        batch.refresh_from_db()
        assert (batch.status, batch.output_file_id, batch.error_file_id) == (
            Status.CANCELLING,
            None,
            None,
        )
        # The leases of the one that failed have lapsed by the time the sweep calls again.
        Batch.objects.update(step_lease_expires_at=None)
        batch.shards.filter(state="running").update(lease_expires_at=batch.created_at)
        results.finalize(batch.pk)
    batch.refresh_from_db()
    assert (batch.status, batch.failed, verify(batch)) == (Status.CANCELLED, LINES, [])
    assert codes_of(batch.error_file_id) == ["batch_cancelled"] * LINES


def test_a_storage_that_is_gone_for_reading_does_not_end_lines(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO is not "the object is not there": nobody's lines may fail for it."""
    with model_server(lambda _: reply()) as server:
        batch = start(account, LINES)
        broken = _fail(errno.EIO, REFUSALS, storage().read)
        monkeypatch.setattr(type(storage()), "read", lambda _, *asked: broken(*asked))
        for _ in range(2):  # a turn that cannot claim anything ends
            run_turn(lambda: False)

    assert len(server.calls) == LINES
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert (batch.status, batch.completed, verify(batch)) == (Status.COMPLETED, LINES, [])
