"""Answers that an engine had when it died: taken over with its shard, recorded once, and asked for no more."""

import os
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from accounts.models import Account
from batches import journal, lifecycle, results
from batches.execution import run_turn
from batches.executor.lines import Request
from batches.models import Batch, Engine, Segment, Shard, Status
from batches.models.shard import ONE_BY_ONE_AFTER
from batches.salvage import purge, spool_of
from batches.verification import verify
from tests.batches.executor.scripted import Call, reply
from tests.batches.factories import (
    HOUR,
    LEASE,
    answers,
    claimed,
    codes_of,
    ids_of,
    lines_of,
    make_engine,
    start,
    unanswered,
)
from tests.batches.test_execution import end, model_server
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db(transaction=True)
LINES = 6


@pytest.fixture
def account() -> Account:
    return AccountFactory()


@pytest.fixture
def dead() -> Engine:
    return make_engine(lease=-HOUR / 60)


def _answer(call: Call) -> bytes:
    return reply({"new": True})


def _had(dead: Engine, batch: Batch, count: int, epoch: int = 1) -> list[Request]:
    """An engine claims the shard, has answers for its first lines, and dies."""
    shard = batch.shards.get()
    shard = claimed(shard, lease=-1)
    batch.shards.update(owner=dead)
    requests = unanswered(shard)
    spool = spool_of(dead)
    spool.rewrite((shard.pk, epoch, result) for result in answers(requests[:count]))
    return requests


def _old(batch: Batch) -> list[bool]:
    """Of each line of the output, whether it is what the dead engine had."""
    return ["new" not in line["response"]["body"] for line in lines_of(batch.output_file_id)]


def test_only_the_other_lines_are_called(account: Account, dead: Engine) -> None:
    with model_server(_answer) as server:
        batch = start(account, LINES)
        _had(dead, batch, 4)
        run_turn(lambda: False)
    assert sorted(call.id.split(":")[1] for call in server.calls) == ["5", "6"]
    assert verify(end(batch, Status.COMPLETED)) == []
    assert _old(batch) == [True] * 4 + [False] * 2


def test_a_shard_whose_every_line_was_answered_is_finished(account: Account, dead: Engine) -> None:
    with model_server(_answer) as server:
        batch = start(account, LINES)
        _had(dead, batch, LINES)
        run_turn(lambda: False)
    assert server.calls == []
    assert verify(end(batch, Status.COMPLETED)) == []
    assert _old(batch) == [True] * LINES


def test_what_was_recorded_before_the_death_is_not_recorded_again(
    account: Account, dead: Engine
) -> None:
    with model_server(_answer) as server:
        batch = start(account, LINES)
        requests = _had(dead, batch, 4)
        assert journal.record(batch.shards.get(), 1, answers(requests[:2]), -1)
        run_turn(lambda: False)
    assert len(server.calls) == 2
    assert verify(end(batch, Status.COMPLETED)) == []


def test_they_say_nothing_of_what_the_engine_died_of(account: Account, dead: Engine) -> None:
    batch = start(account, LINES)
    batch.shards.update(deaths=1)
    _had(dead, batch, 4)
    shard = batch.shards.get()
    assert shard.claim(None, LEASE, shard.lease_expires_at + HOUR)
    assert journal.record(shard, 1, answers(unanswered(shard)[:1]), LEASE, of_the_dead=True)
    assert batch.shards.get().deaths == 2
    assert journal.record(shard, 1, answers(unanswered(shard)[:1]), LEASE)
    assert batch.shards.get().deaths == 0


@pytest.mark.parametrize(
    "wrong", ["of an earlier claim", "of another line", "of a shard that kills", "handed back"]
)
def test_answers_that_are_not_surely_its_own_are_asked_for_again(
    account: Account, dead: Engine, wrong: str
) -> None:
    with model_server(_answer) as server:
        batch = start(account, LINES)
        _had(dead, batch, 4, epoch=0 if wrong == "of an earlier claim" else 1)
        if wrong == "of another line":
            shard = batch.shards.get()
            asked = [Request(r.index, r.line, b'"x"', r.body) for r in unanswered(shard)]
            spool_of(dead).rewrite(())
            [path] = _spools()
            path.unlink()
            spool_of(dead).rewrite((shard.pk, 1, result) for result in answers(asked))
        elif wrong == "of a shard that kills":
            batch.shards.update(deaths=ONE_BY_ONE_AFTER)
        elif wrong == "handed back":
            batch.shards.update(state=Shard.State.WAITING, owner=None)
        run_turn(lambda: False)
    assert len(server.calls) == LINES
    assert verify(end(batch, Status.COMPLETED)) == []
    assert not any(_old(batch))


@pytest.mark.parametrize("how", [Status.CANCELLED, Status.EXPIRED])
def test_a_batch_that_ends_has_them_in_its_output(
    account: Account, dead: Engine, how: Status
) -> None:
    batch = start(account, LINES)
    _had(dead, batch, 4)
    if how == Status.CANCELLED:
        lifecycle.cancel(batch, actor="test")
    else:
        Batch.objects.update(expires_at=batch.created_at)
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert batch.status == how
    assert ids_of(batch.output_file_id) == ["0", "1", "2", "3"]
    assert codes_of(batch.error_file_id) == [f"batch_{how}"] * 2
    assert verify(batch) == []


def test_they_are_kept_until_somebody_has_taken_over(
    account: Account, dead: Engine, settings: Settings
) -> None:
    settings.ORPHAN_GRACE_SECONDS = 60
    batch = start(account, LINES)
    _had(dead, batch, 4)
    [path] = _spools()
    os.utime(path, (0, 0))
    purge()
    assert path.exists()
    batch.shards.update(owner=None)
    dead.delete()
    purge()
    assert not path.exists()
    assert Segment.objects.count() == 0


def _spools() -> list[Path]:
    return list((Path(django_settings.STORAGE_DIR) / "spool").iterdir())
