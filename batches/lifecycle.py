"""What people do to a batch: submit, cancel, requeue, expire now. Each is one call, one transaction, one wake-up."""

import datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.models import Owner
from api.clock import database_now
from batches import hints
from batches.models import TERMINAL, USAGE, Batch, Segment, Shard, Status, Transition
from files.models import File

KEPT = ("completed", *USAGE)  # what a requeue counts on with


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
            raise Batch.Conflict(batch, Status.EXPIRED)
        hints.ring("finalize_batch", batch.pk)
    batch.refresh_from_db()


def requeue(batch: Batch, *, actor: str, reason: str = "", everything: bool = False) -> None:
    """Run a batch that has ended again, in a new window: its failed and unfinished lines, or all of them.

    Good results and the id stay; earlier result files stay with their owner until they expire.
    Raises `Batch.Conflict` when it has not ended or has nothing left to run, `InputGone` when it cannot.
    """
    if batch.status not in TERMINAL:
        raise Batch.Conflict(batch, Status.IN_PROGRESS)
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
            "failed": 0,
        }
        fields |= dict.fromkeys(_LATER_STAMPS)
        if Shard.objects.filter(batch=batch).exists():
            fields |= _reopen(batch, everything)
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


def _reopen(batch: Batch, everything: bool) -> dict[str, Any]:
    """Open the shards that have lines to run; return the counts of what is kept."""
    shards = Shard.objects.filter(batch=batch)
    if everything:
        Segment.objects.filter(shard__batch=batch).delete()
        shards.update(state=Shard.State.WAITING)
        return dict.fromkeys(KEPT, 0)
    with_failures = Segment.objects.filter(shard__batch=batch, failed__gt=0).values("shard")
    if not shards.filter(pk__in=with_failures).update(state=Shard.State.WAITING):
        raise Batch.Conflict(batch, Status.IN_PROGRESS)
    return Segment.objects.of(batch).totals(*KEPT)
