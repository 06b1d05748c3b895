"""Two batches with a past, for the pages that tell of it: one that has ended with failures, one that runs."""

import datetime

from accounts.models import Account, Owner
from api.clock import database_now
from batches import acts as verbs
from batches import results
from batches.models import Batch, BatchMinute, Shard
from console import acts
from console.acts import By
from tests.batches.factories import HOUR, LEASE, make_engine, request_line, run, start

ANNA = By("operator anna", None, "192.0.2.17")
MINUTE = datetime.timedelta(minutes=1)
LINES = 120
PROMPT = (
    '{"model": "llama-3.1-8b", "messages": [{"role": "user", "content": "Which crane is free?"}]}'
)


def tell() -> list[Batch]:
    """The batch that has ended and the one that runs. Shards should be small: BATCH_SHARD_LINES=20."""
    owner = Owner(Account.objects.get(name="acme-prod"))
    lines = b"".join(request_line(f"question-{number}", PROMPT) for number in range(LINES))
    failing = {f"question-{number}" for number in range(0, LINES, 9)}
    ended = start(owner, lines, metadata={"description": "nightly evaluation", "team": "search"})
    running = start(owner, lines, metadata={"description": "doc tagging"})
    for batch in (ended, running):
        run(batch, failing, most=4)
        _had_minutes(batch)
    _was_cancelled(ended)
    engine, now = make_engine(), database_now()
    for shard in running.shards.filter(state=Shard.State.WAITING)[:1]:
        assert shard.claim(engine, LEASE, now)
    return [Batch.objects.get(pk=batch.pk) for batch in (ended, running)]


def _had_minutes(batch: Batch) -> None:
    now = database_now().replace(second=0, microsecond=0)
    Batch.objects.filter(pk=batch.pk).update(created_at=now - HOUR)
    batch.history.update(at=now - HOUR)
    minutes = [
        BatchMinute(
            batch=batch,
            minute=now - ago * MINUTE,
            completed=200 + ago * 37 % 90,
            failed=ago * 13 % 22,
            calls=300,
            latency_2=90 + ago,
            latency_4=50 + ago * 7 % 30,
            latency_5=8,
        )
        for ago in range(1, 41)
    ]
    # One of them is there when the lines above took until the next minute.
    BatchMinute.objects.bulk_create(minutes, ignore_conflicts=True)


def _was_cancelled(batch: Batch) -> None:
    """By an operator, who paused it before."""
    only = Batch.objects.filter(pk=batch.pk)
    for verb, reason in (
        (verbs.PAUSE, "the upstream is too slow"),
        (verbs.CANCEL, "ticket 4711: wrong prompt"),
    ):
        acts.carry_on(acts.begin(verb, ANNA, only, reason=reason))
    results.finalize(batch.pk)
