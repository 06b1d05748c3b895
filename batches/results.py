"""Step: end a batch. Close what was not run, and put the output and error files together from finished shards.

Nothing is copied: a result file is the ordered list of its shards' parts.
"""

import datetime
import time
from typing import Any

from django.conf import settings
from django.db import transaction

from api.clock import database_now
from batches import journal
from batches.executor.lines import Code
from batches.models import USAGE, Batch, Segment, Shard, Status
from batches.salvage import left_behind, salvage
from files.models import File, FilePart, Purpose
from files.storage import Missing

ACTOR = "finalizer"
CLOCK = "clock"
STEP_SECONDS = 30
RENEW_SECONDS = 5
SUMS = ("completed", "failed", *USAGE)


def finalize(batch_id: str) -> None:
    """Bring a batch to its end if its end is due: all lines done, cancelled, or past its window.

    Safe to run at any time and by many at once. A shard whose engine is still winding down is waited for:
    this returns, and whoever gives the shard back, or the sweep, calls again.
    """
    batch = Batch.objects.select_related("account", "external_user").get(pk=batch_id)
    try:
        end = _end_of(batch)
        if end is None or not batch.claim_step(STEP_SECONDS):
            return
        if end == Status.EXPIRED:
            _close_window(batch)
        if _close_shards(batch, end):
            _assemble(batch, end)
        else:
            batch.release_step()
    except Batch.Conflict:
        return  # somebody else ended it, or moved it on: that one's task or the sweep goes on


def _end_of(batch: Batch) -> Status | None:
    """The state that is due, or None while there is nothing to end."""
    if batch.status == Status.CANCELLING:
        return Status.CANCELLED
    if batch.status == Status.FINALIZING:
        return Status.COMPLETED
    if batch.status in (Status.VALIDATING, Status.IN_PROGRESS):
        unfinished = Shard.objects.filter(batch=batch).exclude(state=Shard.State.DONE)
        if batch.status == Status.IN_PROGRESS and not unfinished.exists():
            batch.refresh_from_db(fields=["closed_by"])  # it is written before any shard is closed
            if not batch.closed_by:
                batch.move(Status.FINALIZING, actor=ACTOR)
                return Status.COMPLETED
        if batch.expires_at <= database_now():
            return Status.EXPIRED
    return None


# Closing


def _close_window(batch: Batch) -> None:
    """Note who closed it, so that nobody takes shards that are closed for lines that were answered."""
    if not batch.closed_by:
        rows = Batch.objects.filter(pk=batch.pk, status=batch.status, attempt=batch.attempt)
        if not rows.update(closed_by=CLOCK):
            raise Batch.Conflict(batch, "become expired")
        batch.closed_by = CLOCK


def _close_shards(batch: Batch, end: Status) -> bool:
    """Give every line that was not run its error line. False while an engine still holds a shard."""
    code = Code.BATCH_CANCELLED if end == Status.CANCELLED else Code.BATCH_EXPIRED
    renewed = time.monotonic()
    all_closed = True
    for shard in batch.shards.exclude(state=Shard.State.DONE).order_by("number").iterator():
        all_closed &= _close(batch, shard, code)
        if time.monotonic() - renewed > RENEW_SECONDS:
            if not batch.renew_step(STEP_SECONDS):
                raise Batch.Conflict(batch, f"become {end.label}")
            renewed = time.monotonic()
    return all_closed


def _close(batch: Batch, shard: Shard, code: Code) -> bool:
    """Claim the shard like any owner would, so that whoever had it before is fenced, and finish it."""
    if not shard.claim(None, settings.BATCH_LEASE_SECONDS, database_now()):
        return False
    try:
        open_requests = journal.unanswered(shard, batch.input_file_id)
    except Missing:
        open_requests, code = (
            journal.lost_requests(shard),
            Code.INPUT_FILE_MISSING,
        )
    left = left_behind([(shard, batch.attempt)])
    results, open_requests = salvage(left.get(shard.pk, ()), open_requests)
    results += [journal.closed(request, code) for request in open_requests]
    return journal.finish(shard, batch.attempt, results, advance=False)


# Assembling


def _assemble(batch: Batch, end: Status) -> None:
    with transaction.atomic():
        # It locks the row: the batch cannot move, and so get shards, between here and the move.
        if not batch.renew_step(STEP_SECONDS):
            raise Batch.Conflict(batch, f"become {end.label}")
        fields: dict[str, Any] = {}
        if batch.shards.exists():
            fields = {
                "output_file": _result_file(batch, "output"),
                "error_file": _result_file(batch, "error"),
            } | Segment.objects.of(batch).totals(*SUMS)
        actor, reason = ACTOR, ""
        if end == Status.EXPIRED:
            actor, reason = batch.closed_by, batch.close_reason
        batch.move(end, actor=actor, reason=reason, **fields)


def _result_file(batch: Batch, kind: str) -> File | None:
    """The output or the error file, made of the shards' ranges in order; None when it would be empty."""
    segments = Segment.objects.of(batch).filter(**{f"{kind}_bytes__gt": 0})
    ranges = segments.order_by("shard__number").values_list(
        "blob_id", "output_bytes", "error_bytes"
    )
    parts = [
        FilePart(blob_id=blob, start=0, bytes=output)
        if kind == "output"
        else FilePart(blob_id=blob, start=output, bytes=error)
        for blob, output, error in ranges
    ]
    if not parts:
        return None
    keep = batch.output_expires_after_seconds or settings.FILE_EXPIRES_SECONDS
    now = database_now()
    file = File.objects.create(
        account=batch.account,
        external_user=batch.external_user,
        filename=f"{batch.pk}_{kind}.jsonl",
        purpose=Purpose.BATCH_OUTPUT,
        bytes=sum(part.bytes for part in parts),
        created_at=now,
        expires_at=now + datetime.timedelta(seconds=keep),
    )
    for number, part in enumerate(parts):
        part.file, part.number = file, number
    FilePart.objects.bulk_create(parts, batch_size=1000)
    return file
