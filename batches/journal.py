"""The journal of a shard: results as they come, committed by the database, and in the end in input order.

A segment's blob holds output lines, then error lines, then an index: an entry per line, as JSON arrays, with
what people ask about a line. The object is durable before the row that names it, and every commit carries the
epoch of the shard: an owner whose lease was taken over changes nothing.
"""

import dataclasses
import datetime
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from django.db import transaction
from django.db.models import F

from api.clock import database_now
from batches import hints
from batches.executor.lines import Code, Request, Result, closing_line, parse_shard
from batches.models import USAGE, Batch, Segment, Shard, Status
from files.content import open_file, save_blob, store
from files.models import Blob, File
from files.storage import Missing, Reader, storage

ENGINE = "engine"
IN_MEMORY = 64 * 1024 * 1024  # segments of up to this size are merged in memory


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """What the index says of one line. `index` counts the request lines of the shard from 0."""

    index: int
    completed: bool
    bytes: int
    custom_id: msgspec.Raw
    attempts: int
    status: int | None
    cause: str
    latency_ms: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """A result line that is in a segment: its entry, and where the line begins in the blob."""

    entry: Entry
    key: str
    start: int


_encoder = msgspec.json.Encoder()
_entry = msgspec.json.Decoder(Entry)


def answered(shard: Shard, attempt: int) -> set[int]:
    """The indexes of the shard's lines that need no more calls in this attempt of the batch."""
    return {kept.entry.index for kept in kept_lines(shard, attempt)}


def unanswered(shard: Shard, attempt: int, input_file_id: str) -> list[Request]:
    """The shard's request lines that have no result yet, read from the input file.

    Raises files.storage.Missing when the storage has lost them.
    """
    file = File(pk=input_file_id, bytes=shard.end)
    with open_file(file, shard.start, shard.end - shard.start) as stream:
        lines = stream.read()
    if len(lines) != shard.end - shard.start:
        raise Missing(f"The input of {shard} is not in the storage.")
    try:
        return parse_shard(lines, shard.first_line, answered(shard, attempt))
    except ValueError as error:
        raise Missing(f"The input of {shard} has changed in the storage: {error}") from error


def lost_requests(shard: Shard, attempt: int) -> list[Request]:
    """Stand-ins for the unanswered lines of a shard whose input is lost: nobody knows their ids any more."""
    done = answered(shard, attempt)
    return [
        Request(index=index, line=0, custom_id=b"null", body=b"")
        for index in range(shard.lines)
        if index not in done
    ]


def closed(request: Request, code: Code) -> Result:
    """The result of a request that was never run, or has no answer."""
    line = closing_line(request, code)
    return Result(request.index, request.custom_id, False, line, 0, None, code, 0)


def kept_lines(shard: Shard, attempt: int) -> Iterator[Kept]:
    """Every line of the shard that has a result, except failures of an earlier attempt."""
    for segment in shard.segments.order_by("id"):
        for kept in read_index(segment):
            if kept.entry.completed or segment.attempt == attempt:
                yield kept


def read_index(segment: Segment) -> Iterator[Kept]:
    """The entries of a segment, each with its line's place in the blob. Raises files.storage.Missing."""
    output, error = 0, segment.output_bytes
    with storage().read(segment.blob_id, segment.output_bytes + segment.error_bytes) as reader:
        index = _read_all(reader)
    for line in index.splitlines():
        entry = _entry.decode(line)
        yield Kept(entry, segment.blob_id, output if entry.completed else error)
        if entry.completed:
            output += entry.bytes
        else:
            error += entry.bytes


def read_line(kept: Kept) -> bytes:
    """One result line, read by its range."""
    with storage().read(kept.key, kept.start, kept.entry.bytes) as reader:
        return _read_all(reader)


def record(shard: Shard, attempt: int, results: Sequence[Result], lease_seconds: float) -> bool:
    """Commit results of a shard that goes on, and renew its lease. False, and nothing changed, when fenced."""
    packed = _pack([(_to_entry(result), result.line) for result in results])
    return _commit(shard, attempt, packed, results, lease_seconds=lease_seconds)


def finish(shard: Shard, attempt: int, results: Sequence[Result], *, advance: bool) -> bool:
    """Commit the last results and make the shard done, with one segment in input order. False when fenced.

    With `advance`, the batch moves to finalizing in the same transaction when this was its last shard.
    """
    old = list(shard.segments.order_by("id"))
    lines = {kept.entry.index: (kept.entry, kept) for kept in kept_lines(shard, attempt)}
    merged: dict[int, tuple[Entry, Kept | bytes]] = {**lines}
    merged |= {result.index: (_to_entry(result), result.line) for result in results}
    assert len(merged) == shard.lines, f"{shard}: {len(merged)} results of {shard.lines} lines"
    in_order = [merged[index] for index in range(shard.lines)]
    packed = _pack(_with_lines(in_order, old))
    return _commit(shard, attempt, packed, results, replaces=old, advance=advance)


# Packing


@dataclasses.dataclass(frozen=True, slots=True)
class _Packed:
    pieces: list[bytes]
    sums: dict[str, int]  # the columns of Segment


def _to_entry(result: Result) -> Entry:
    usage = result.usage
    return Entry(
        index=result.index,
        completed=result.completed,
        bytes=len(result.line),
        custom_id=msgspec.Raw(result.custom_id),
        attempts=result.attempts,
        status=result.status,
        cause=result.cause,
        latency_ms=result.latency_ms,
        input_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


def _with_lines(
    merged: Iterable[tuple[Entry, Kept | bytes]], old: list[Segment]
) -> list[tuple[Entry, bytes]]:
    """Fetch the kept lines: by whole blobs while those are small, else by their ranges."""
    blobs: dict[str, bytes] = {}
    if sum(segment.output_bytes + segment.error_bytes for segment in old) <= IN_MEMORY:
        for segment in old:
            with storage().read(segment.blob_id) as reader:
                blobs[segment.blob_id] = _read_all(reader)
    lines = []
    for entry, place in merged:
        if isinstance(place, bytes):
            line = place
        elif place.key in blobs:
            line = blobs[place.key][place.start : place.start + entry.bytes]
        else:
            line = read_line(place)
        lines.append((entry, line))
    return lines


def _pack(lines: Sequence[tuple[Entry, bytes]]) -> _Packed:
    output = [line for entry, line in lines if entry.completed]
    error = [line for entry, line in lines if not entry.completed]
    index = _encoder.encode_lines([entry for entry, _ in lines])
    entries = [entry for entry, _ in lines]
    sums = {
        "output_bytes": sum(map(len, output)),
        "error_bytes": sum(map(len, error)),
        "completed": len(output),
        "failed": len(error),
    }
    for name in USAGE:
        sums[name] = sum(getattr(entry, name) for entry in entries)
    return _Packed([*output, *error, index], sums)


def _read_all(reader: Reader) -> bytes:
    pieces = []
    while piece := reader.read():
        pieces.append(piece)
    return b"".join(pieces)


# Committing


def _commit(
    shard: Shard,
    attempt: int,
    packed: _Packed,
    results: Sequence[Result],
    *,
    lease_seconds: float = 0,
    replaces: Sequence[Segment] | None = None,
    advance: bool = False,
) -> bool:
    stored = store(b"".join(packed.pieces))
    with transaction.atomic():
        finished = replaces is not None
        if not _keep(shard, finished, lease_seconds):
            storage().delete(stored.key)
            return False
        Segment.objects.create(shard=shard, blob=save_blob(stored), attempt=attempt, **packed.sums)
        _count(shard.batch_id, attempt, results)
        if replaces:
            Segment.objects.filter(pk__in=[segment.pk for segment in replaces]).delete()
            transaction.on_commit(lambda: drop_blobs([segment.blob_id for segment in replaces]))
        if advance:
            _advance(shard.batch_id)
    return True


def _keep(shard: Shard, finished: bool, lease_seconds: float) -> bool:
    """The fence: one UPDATE that only the present epoch passes."""
    rows = Shard.objects.filter(pk=shard.pk, epoch=shard.epoch, state=Shard.State.RUNNING)
    if finished:
        return bool(rows.update(state=Shard.State.DONE, owner=None, lease_expires_at=None))
    until = database_now() + datetime.timedelta(seconds=lease_seconds)
    return bool(rows.update(lease_expires_at=until))


def _count(batch_id: str, attempt: int, results: Sequence[Result]) -> None:
    completed = sum(result.completed for result in results)
    counts = {"completed": completed, "failed": len(results) - completed}
    for name in USAGE:
        counts[name] = sum(getattr(result.usage, name) for result in results)
    Batch.objects.filter(pk=batch_id, attempt=attempt).update(
        **{name: F(name) + count for name, count in counts.items()}
    )


def _advance(batch_id: str) -> None:
    """Have the batch ended when every shard is done. The row was locked by the count, so one of two last ones sees it."""
    if Shard.objects.filter(batch_id=batch_id).exclude(state=Shard.State.DONE).exists():
        return
    batch = Batch.objects.get(pk=batch_id)
    if batch.status == Status.IN_PROGRESS and not batch.closed_by:
        batch.move(Status.FINALIZING, actor=ENGINE)
    hints.ring("finalize_batch", batch_id)


def drop_blobs(keys: Sequence[str]) -> None:
    """Remove blobs that nothing refers to any more: rows first, then objects."""
    unused = list(Blob.objects.filter(pk__in=keys).unreferenced().values_list("pk", flat=True))
    Blob.objects.filter(pk__in=unused).delete()
    for key in unused:
        storage().delete(key)
