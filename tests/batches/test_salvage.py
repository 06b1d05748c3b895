"""Answers that an engine had when it died: taken over with its shard, recorded once, and asked for no more."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import OperationalError
from pytest_django import Settings

from accounts.models import Account
from api.clock import database_now
from batches import execution, journal, lifecycle, results
from batches.execution import run_turn
from batches.executor.lines import Request
from batches.models import Batch, Engine, Shard, Status
from batches.models.shard import ONE_BY_ONE_AFTER
from batches.salvage import purge, spool_of
from batches.verification import verify
from tests.batches.executor.scripted import Call, reply
from tests.batches.factories import (
    HOUR,
    LEASE,
    answers,
    codes_of,
    ids_of,
    lines_of,
    make_engine,
    start,
    unanswered,
)
from tests.batches.test_execution import end, model_server

pytestmark = pytest.mark.django_db(transaction=True)
LINES = 6


@pytest.fixture
def dead() -> Engine:
    return make_engine(lease=-HOUR / 60)


def _answer(call: Call) -> bytes:
    return reply({"new": True})


def _had(dead: Engine, batch: Batch, count: int, attempt: int = 1) -> list[Request]:
    """An engine claims the shard, has answers for its first lines, and dies."""
    shard = batch.shards.get()
    assert shard.claim(dead, -1, database_now())
    requests = unanswered(shard)
    spool = spool_of(dead)
    spool.rewrite((shard.pk, attempt, result) for result in answers(requests[:count]))
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
    assert shard.claim(None, LEASE, database_now())
    assert journal.record(shard, 1, answers(unanswered(shard)[:1]), LEASE, of_the_dead=True)
    assert batch.shards.get().deaths == 2
    assert journal.record(shard, 1, answers(unanswered(shard)[:1]), LEASE)
    assert batch.shards.get().deaths == 0


@pytest.mark.parametrize("wrong", ["of another attempt", "of another line", "of one that kills"])
def test_answers_that_are_not_surely_its_own_are_asked_for_again(
    account: Account, dead: Engine, wrong: str
) -> None:
    with model_server(_answer) as server:
        batch = start(account, LINES)
        requests = _had(dead, batch, 4, attempt=2 if wrong == "of another attempt" else 1)
        if wrong == "of another line":
            other = [Request(r.index, r.line, b'"x"', r.body) for r in requests]
            [path] = _spools()
            path.unlink()
            spool_of(dead).rewrite((batch.shards.get().pk, 1, r) for r in answers(other))
        elif wrong == "of one that kills":
            batch.shards.update(deaths=ONE_BY_ONE_AFTER)
        run_turn(lambda: False)
    assert len(server.calls) == LINES
    assert verify(end(batch, Status.COMPLETED)) == []
    assert not any(_old(batch))


def _refuse(*_: object, **__: object) -> None:
    raise OSError("there is no space")


def _claims_and_dies(batch: Batch) -> None:
    assert batch.shards.get().claim(make_engine(lease=-HOUR / 60), -1, database_now())


def _claims_and_cannot_record(batch: Batch) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "record", _refuse)
        patch.setattr(execution, "UNREADABLE_SECONDS", 0)
        drained = iter([False, False])
        run_turn(lambda: next(drained, True))
    assert batch.shards.get().state == Shard.State.WAITING


def _claims_and_is_cut_from_the_database(batch: Batch) -> None:
    def cut(*_: object, **__: object) -> None:
        raise OperationalError("the connection was cut")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "record", cut)
        drained = iter([False, False])
        run_turn(lambda: next(drained, True))


def _many_claim_and_die(batch: Batch) -> None:
    """Not even the first one is forgotten, as long as its answers may be taken at all."""
    for _ in range(ONE_BY_ONE_AFTER - 2):
        _claims_and_dies(batch)
    for _ in range(4):
        _claims_to_hand_it_back(batch)


def _claims_to_hand_it_back(batch: Batch) -> None:
    shard = batch.shards.get()
    assert shard.claim(make_engine(), LEASE, database_now())
    execution._release(shard)


def _claims_to_end_it_and_dies(batch: Batch) -> None:
    assert batch.shards.get().claim(None, -1, database_now())


def _cannot_record_until_its_turn_is_over(batch: Batch) -> None:
    heir = make_engine()
    shard = batch.shards.get()
    assert shard.claim(heir, LEASE, database_now())
    execution._let_go(heir)


@pytest.mark.parametrize(
    "heir",
    [
        _claims_and_dies,
        _claims_and_cannot_record,
        _claims_and_is_cut_from_the_database,
        _many_claim_and_die,
        _claims_to_end_it_and_dies,
        _cannot_record_until_its_turn_is_over,
    ],
    ids=lambda heir: heir.__name__,
)
def test_they_are_found_when_the_next_owner_could_not_take_them(
    account: Account, dead: Engine, heir: Callable[[Batch], None]
) -> None:
    with model_server(_answer) as server:
        batch = start(account, LINES)
        _had(dead, batch, 4)
        heir(batch)
        run_turn(lambda: False)
    assert len(server.calls) == LINES - 4
    assert verify(end(batch, Status.COMPLETED)) == []
    assert batch.shards.get().lost_by == ""


def test_a_turn_that_ends_before_it_could_record_leaves_its_answers_to_the_next(
    account: Account, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.BATCH_DRAIN_SECONDS = 0.1

    with model_server(_answer) as server:
        batch = start(account, LINES)
        with monkeypatch.context() as patch:
            patch.setattr(journal, "finish", _refuse)
            patch.setattr(journal, "record", _refuse)
            run_turn(lambda: len(server.calls) == LINES)
        assert Engine.objects.count() == 0
        run_turn(lambda: False)
    assert len(server.calls) == LINES
    assert verify(end(batch, Status.COMPLETED)) == []


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
    shard = batch.shards.get()
    assert shard.claim(None, LEASE, database_now())
    dead.delete()
    purge()
    assert path.exists()
    assert journal.record(shard, 1, [], LEASE)
    purge()
    assert not path.exists()


def _spools() -> list[Path]:
    return list((Path(django_settings.STORAGE_DIR) / "spool").iterdir())
