"""What people do to a batch: submit, cancel, pause, requeue, expire now ... Each is one call and one transaction."""

import dataclasses
import datetime
from collections.abc import Collection, Mapping
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from accounts.models import Owner
from api.clock import database_now
from batches import hints, journal
from batches.models import (
    TERMINAL,
    USAGE,
    Batch,
    MetadataPair,
    Priority,
    Segment,
    Shard,
    Status,
    Transition,
)
from files.models import File

KEPT = ("completed", *USAGE)  # what a requeue counts on with, beside failed


class InputGone(Exception):
    """The batch cannot run again: its input file has been deleted or has expired."""


def submit(owner: Owner, created_by: str, **asked: Any) -> Batch:
    """Write a new batch and wake validation. The file is not looked into, and need not exist.

    `asked`: input_file_id, endpoint, completion_window, and optionally max_concurrency, metadata,
    output_expires_after_seconds.
    """
    now = database_now()
    asked["max_concurrency"] = min(
        asked.get("max_concurrency") or settings.BATCH_DEFAULT_LINE_CONCURRENCY,
        settings.BATCH_MAX_LINE_CONCURRENCY,
    )
    with transaction.atomic():
        held = File.objects.owned_by(owner).live(now).filter(pk=asked["input_file_id"]).first()
        batch = Batch.objects.create(
            account=owner.account,
            external_user=owner.external_user,
            created_by=created_by,
            held_file=held,
            created_at=now,
            expires_at=now + window(asked["completion_window"]),
            **asked,
        )
        Transition.objects.create(
            batch=batch, at=now, attempt=1, to_status=Status.VALIDATING, actor=created_by
        )
        if batch.metadata:
            MetadataPair.objects.note([batch])
        hints.ring("validate_batch", batch.pk)
    return batch


def window(text: str) -> datetime.timedelta:
    """The time a completion window such as `24h` stands for. Hours only, as OpenAI writes them."""
    return datetime.timedelta(hours=int(text.removesuffix("h")))


def cancel(batch: Batch, *, actor: str, reason: str = "") -> None:
    """Stop a batch: no new call from now on. Cancelling twice is once.

    Raises `Batch.Conflict` when it has ended otherwise, or has all its answers already.
    """
    try:
        with transaction.atomic():
            batch.move(Status.CANCELLING, actor=actor, reason=reason)
            hints.ring("finalize_batch", batch.pk)
    except Batch.Conflict as conflict:
        if conflict.status not in (Status.CANCELLING, Status.CANCELLED):
            raise


def expire(batch: Batch, *, actor: str, reason: str = "") -> None:
    """Close the window now: no new call, and what is not done goes to the error file. Closing twice is once.

    Raises `Batch.Conflict` when the batch is past running.
    """
    now = database_now()
    with transaction.atomic():
        rows = Batch.objects.filter(pk=batch.pk, status__in=(Status.VALIDATING, Status.IN_PROGRESS))
        closed = rows.filter(expires_at__gt=now).update(
            expires_at=now, closed_by=actor, close_reason=reason
        )
        if not closed and not rows.exists():
            batch.refresh_from_db()
            raise Batch.Conflict(batch, "become expired")
        hints.ring("finalize_batch", batch.pk)
    batch.refresh_from_db()


def pause(batch: Batch, *, actor: str, reason: str = "") -> None:
    """Let no call of a batch begin until it is resumed; what is in flight may end. Its window goes on.

    Pausing twice is once. Raises `Batch.Conflict` when it has nothing left to call.
    """
    if not batch.pause(actor=actor, reason=reason) and batch.paused_at is None:
        raise Batch.Conflict(batch, "be paused")


def resume(batch: Batch) -> None:
    """Go on with a batch that was paused; with any other there is nothing to do."""
    with transaction.atomic():
        if batch.resume():
            hints.ring("run_turn", cluster="engine")


def prioritize(batch: Batch, priority: Priority) -> None:
    """Let the lines of a batch go before those of lower priority, of whatever owner.

    Raises `Batch.Conflict` when it has nothing left to call.
    """
    if not batch.prioritize(priority) and batch.priority != priority:
        raise Batch.Conflict(batch, "get another priority")


@dataclasses.dataclass(frozen=True, slots=True)
class Rerun:
    """What of a batch that has ended runs again: its failed lines; of these, those of some causes or some lines; or
    everything.

    lines: by the number of their shard, their indexes in it.
    """

    everything: bool = False
    causes: frozenset[str] | None = None
    lines: Mapping[int, Collection[int]] | None = None


FAILED = Rerun()


def requeue(batch: Batch, *, actor: str, reason: str = "", rerun: Rerun = FAILED) -> None:
    """Run a batch that has ended again, in a new window: its failed and unfinished lines, or what `rerun` says.

    All other results and the id stay; earlier result files stay with their owner until they expire.
    Raises `Batch.Conflict` when it has not ended or has nothing to run again, `InputGone` when it cannot.
    """
    if batch.status not in TERMINAL:
        raise Batch.Conflict(batch, "run again before it has ended")
    with transaction.atomic():
        now = database_now()
        held = File.objects.owned_by(batch.owner).live(now).filter(pk=batch.input_file_id).first()
        if held is None:
            raise InputGone(f"The batch {batch.pk} cannot run again: its input file is gone.")
        fields: dict[str, Any] = {
            "attempt": batch.attempt + 1,
            "held_file": held,
            "expires_at": now + window(batch.completion_window),
            "closed_by": "",
            "close_reason": "",
            "errors": None,
            "output_file": None,
            "error_file": None,
        }
        fields |= dict.fromkeys(_LATER_STAMPS)
        if Shard.objects.filter(batch=batch).exists():
            fields |= _reopen(batch, rerun)
            batch.move(Status.IN_PROGRESS, actor=actor, reason=reason, **fields)
            hints.ring("run_turn", cluster="engine")
        else:
            batch.move(Status.VALIDATING, actor=actor, reason=reason, **fields)
            hints.ring("validate_batch", batch.pk)


_LATER_STAMPS = (
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
    "in_progress_at",
)


def _reopen(batch: Batch, rerun: Rerun) -> dict[str, Any]:
    """Open the shards that have lines to run; return the counts of what is kept."""
    shards, segments = Shard.objects.filter(batch=batch), Segment.objects.of(batch)
    if rerun.everything:
        segments.delete()
        shards.update(state=Shard.State.WAITING)
        return dict.fromkeys(("failed", *KEPT), 0)
    failing = segments.filter(failed__gt=0)
    counts = segments.totals("failed", *KEPT)
    if rerun == FAILED:
        opened = shards.filter(pk__in=failing.values("shard")).update(state=Shard.State.WAITING)
        failing.update(rerun={"causes": None, "lines": None})
        counts["failed"] = 0
    else:
        opened, again = _reopen_some(failing, rerun)
        counts["failed"] -= again
    if not opened:
        raise Batch.Conflict(batch, "run again: it has no such lines")
    return counts


def _reopen_some(failing: QuerySet[Segment], rerun: Rerun) -> tuple[int, int]:
    """Open the shards that have chosen lines; return how many shards, and how many lines."""
    if rerun.lines is not None:
        failing = failing.filter(shard__number__in=rerun.lines)
    chosen, again = [], 0
    for segment in failing.select_related("shard"):
        lines = None if rerun.lines is None else sorted(rerun.lines[segment.shard.number])
        causes = None if rerun.causes is None else sorted(rerun.causes)
        segment.rerun = {"causes": causes, "lines": lines}
        if count := segment.failed - journal.still_failed(segment):
            chosen.append(segment)
            again += count
    Segment.objects.bulk_update(chosen, ["rerun"], batch_size=200)
    for start in range(0, len(chosen), 500):
        pks = [segment.shard_id for segment in chosen[start : start + 500]]
        Shard.objects.filter(pk__in=pks).update(state=Shard.State.WAITING)
    return len(chosen), again
