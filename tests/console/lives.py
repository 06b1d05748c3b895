"""Batches that the code itself has brought to where they are, moved into the past: all their numbers fit together."""

import datetime
import itertools
import json
import math

from django.test import override_settings

from accounts.models import Owner
from api.clock import database_now
from batches import journal, lifecycle, results, traffic, validation
from batches.executor.lines import Request, Result
from batches.models import TERMINAL, Batch, BatchMinute, Shard, Status, Upstream
from batches.models.batch import STAMPS
from batches.models.traffic import COUNTS
from tests.batches.factories import answer, claimed, request_line, submit, unanswered

MODEL = "llama-3.1-8b"
SHARD_LINES = 100
MINUTE = datetime.timedelta(minutes=1)
NOW = datetime.timedelta()
DAY = datetime.timedelta(hours=24)
GOOD = (
    b'{"id":"chatcmpl-7","object":"chat.completion","model":"llama-3.1-8b","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Crane 4 is free."},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}}'
)
TOO_LONG = b'{"error":{"message":"The prompt is longer than 8192 tokens."}}'
TOO_WARM = b'{"error":{"message":"temperature must be at most 2."}}'


def questions(count: int, model: str = MODEL) -> bytes:
    asked = {"role": "user", "content": "Which crane is free?"}
    body = json.dumps({"model": model, "messages": [asked]})
    return b"".join(request_line(f"question-{number}", body) for number in range(count))


def sent(owner: Owner, content: bytes, **asked: object) -> Batch:
    """A batch that is to be checked, sent with the account's key."""
    batch = submit(owner, content, **asked)
    batch.created_by = owner.account.api_keys.get(name="live").prefix
    batch.save(update_fields=["created_by"])
    batch.history.update(actor=batch.created_by)
    return batch


def begin(owner: Owner, content: bytes, upstream: Upstream, **asked: object) -> Batch:
    """A batch that has been checked."""
    batch = sent(owner, content, **asked)
    with override_settings(BATCH_SHARD_LINES=SHARD_LINES):
        validation.validate(batch.pk)
    Batch.objects.filter(pk=batch.pk, status=Status.IN_PROGRESS).update(upstream=upstream)
    batch.refresh_from_db()
    return batch


def call(batch: Batch, share: float = 1.0) -> Batch:
    """Answer the lines of a share of its shards, as a busy upstream does: most in a second or two, and some not at all."""
    most = math.ceil(batch.shards.count() * share)
    for shard in batch.shards.exclude(state=Shard.State.DONE).order_by("number")[:most]:
        requests = unanswered(claimed(shard))
        answers = [_answer(shard.first_line + n, one) for n, one in enumerate(requests)]
        assert journal.finish(shard, batch.attempt, answers, advance=True)
    batch.refresh_from_db()
    return batch


def _answer(number: int, request: Request) -> Result:
    latency = 300 + number * 37 % 900 + (2500 if number % 17 == 0 else 0)
    if number % 23 == 7:
        return answer(request, 400, TOO_LONG, latency // 10)
    if number % 61 == 11:
        return answer(request, 422, TOO_WARM, latency // 10)
    return answer(request, 200, GOOD, latency)


def bring(
    owner: Owner,
    status: Status,
    upstream: Upstream,
    content: bytes,
    *,
    minutes: int = 30,
    ended: datetime.timedelta = NOW,
    **asked: object,
) -> Batch:
    """A batch in this state that has run for so many minutes, the last of them so long ago."""
    if status == Status.VALIDATING:
        return sent(owner, content, **asked)
    batch = begin(owner, b"{}\n" if status == Status.FAILED else content, upstream, **asked)
    call(batch, 1.0 if status in (Status.FINALIZING, Status.COMPLETED) else 0.6)
    if status == Status.EXPIRED:
        lifecycle.expire(batch, actor="operator anna", reason="it was sent twice")
    if status in (Status.CANCELLING, Status.CANCELLED):
        lifecycle.cancel(batch, actor=batch.created_by)
    if status in TERMINAL:
        results.finalize(batch.pk)
    batch.refresh_from_db()
    assert batch.status == status, batch.status
    return move_back(batch, 1 if status == Status.FAILED else minutes, ended)


def move_back(batch: Batch, minutes: int, ended: datetime.timedelta = NOW) -> Batch:
    """Let what has just been done to a batch have taken so many minutes, and the last of it be so long ago."""
    last = (database_now() - ended).replace(second=0, microsecond=0)
    began = last - minutes * MINUTE
    created = began - MINUTE / 3
    stamps = {
        stamp: began if status == Status.IN_PROGRESS else last
        for status, stamp in STAMPS.items()
        if getattr(batch, stamp)
    }
    expires = last if batch.status == Status.EXPIRED else created + DAY
    Batch.objects.filter(pk=batch.pk).update(created_at=created, expires_at=expires, **stamps)
    batch.history.update(at=last)
    for status, at in ((Status.VALIDATING, created), (Status.IN_PROGRESS, began)):
        batch.history.filter(to_status=status).update(at=at)
    _spread(batch, began, minutes)
    batch.refresh_from_db()
    return batch


def _spread(batch: Batch, began: datetime.datetime, minutes: int) -> None:
    """Spread what has been counted over the minutes, in waves."""
    rows = BatchMinute.objects.filter(batch=batch)
    sums = traffic.total(rows.values(*COUNTS))
    rows.delete()
    waves = [4 + math.sin(number / 3) + math.sin(number / 7) for number in range(minutes)]
    reached = [0.0, *itertools.accumulate(waves)]
    cuts = {
        name: [round(count * one / reached[-1]) for one in reached] for name, count in sums.items()
    }
    BatchMinute.objects.bulk_create(
        BatchMinute(
            batch=batch,
            minute=began + number * MINUTE,
            **{name: cut[number + 1] - cut[number] for name, cut in cuts.items()},
        )
        for number in range(minutes)
    )
