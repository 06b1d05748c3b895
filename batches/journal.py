"""The journal of a shard: results as they come, committed by the database, and in the end in input order.

A segment's blob holds output lines, then error lines, then an index: an entry per line, as JSON arrays, with
what people ask about a line. The object is durable before the row that names it, and every commit carries the
epoch of the shard: an owner whose lease was taken over changes nothing.
"""

import dataclasses
import datetime
import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from django.db import transaction
from django.db.models import BigIntegerField, Case, DateTimeField, F, QuerySet, When

from api.clock import database_now
from api.prepared import Given, PreparedDelete, PreparedUpdate
from batches import hints, traffic
from batches.executor.lines import Code, Request, Result, closing_line, parse_shard
from batches.models import USAGE, Batch, Segment, Shard, Status
from batches.models.shard import ONE_BY_ONE_AFTER
from files.content import open_file, save_blob, store
from files.models import Blob, File
from files.storage import Missing, Reader, storage

ENGINE = "engine"
COUNTS = ("completed", "failed", *USAGE)  # of a batch
IN_MEMORY = 64 * 1024 * 1024  # segments of up to this size are merged in memory


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
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


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A result line that is in a segment: its entry, and where the line begins in the blob."""

    entry: Entry
    key: str
    start: int


_encoder = msgspec.json.Encoder()
_entry = msgspec.json.Decoder(Entry)


def answered(shard: Shard) -> set[int]:
    """The indexes of the shard's lines that need no more calls."""
    return {kept.entry.index for kept in kept_lines(shard)}


def unanswered(shard: Shard, input_file_id: str) -> list[Request]:
    """The shard's request lines that have no result yet, read from the input file.

    Raises files.storage.Missing when the storage has lost them.
    """
    file = File(pk=input_file_id, bytes=shard.end)
    with open_file(file, shard.start, shard.end - shard.start) as stream:
        lines = stream.read()
    if len(lines) != shard.end - shard.start:
        raise Missing(f"The input of {shard} is not in the storage.")
    try:
        return parse_shard(lines, shard.first_line, answered(shard))
    except ValueError as error:
        raise Missing(f"The input of {shard} has changed in the storage: {error}") from error


def lost_requests(shard: Shard) -> list[Request]:
    """Stand-ins for the unanswered lines of a shard whose input is lost: nobody knows their ids any more."""
    done = answered(shard)
    return [
        Request(index=index, line=0, custom_id=b"null", body=b"")
        for index in range(shard.lines)
        if index not in done
    ]


def closed(request: Request, code: Code) -> Result:
    """The result of a request that was never run, or has no answer."""
    line = closing_line(request, code)
    return Result(request.index, request.custom_id, False, line, 0, None, code, 0)


def kept_lines(shard: Shard, segments: Iterable[Segment] | None = None) -> Iterator[Kept]:
    """Every line of the shard that has a result, except failures that run again.

    `segments`: those of the shard, if they are at hand.
    """
    for segment in shard.segments.order_by("id") if segments is None else segments:
        for kept in read_index(segment):
            entry = kept.entry
            if entry.completed or segment.still_fails(entry.cause, entry.index):
                yield kept


def read_index(segment: Segment) -> Iterator[Kept]:
    """The entries of a segment, each with its line's place in the blob. Raises files.storage.Missing."""
    output, error = 0, segment.output_bytes
    with storage().read(segment.blob_id, segment.output_bytes + segment.error_bytes) as reader:
        entries = _entry.decode_lines(_read_all(reader))
    key = segment.blob_id
    for entry in entries:
        if entry.completed:
            yield Kept(entry, key, output)
            output += entry.bytes
        else:
            yield Kept(entry, key, error)
            error += entry.bytes


def causes(segment: Segment) -> dict[str, int]:
    """How many lines of a segment failed, by cause."""
    if segment.causes is None and segment.failed:  # written by an earlier version
        segment.causes = Counter(
            kept.entry.cause for kept in read_index(segment) if not kept.entry.completed
        )
    return segment.causes or {}


def still_failed(segment: Segment) -> int:
    """How many lines of a segment failed and do not run again."""
    if segment.rerun is not None and segment.rerun["lines"] is None:
        return sum(n for cause, n in causes(segment).items() if segment.still_fails(cause, -1))
    failed = [kept.entry for kept in read_index(segment) if not kept.entry.completed]
    return sum(segment.still_fails(entry.cause, entry.index) for entry in failed)


def read_line(kept: Kept) -> bytes:
    """One result line, read by its range."""
    with storage().read(kept.key, kept.start, kept.entry.bytes) as reader:
        return _read_all(reader)


def record(shard: Shard, attempt: int, results: Sequence[Result], lease_seconds: float) -> bool:
    """Commit results of a shard that goes on, and renew its lease. False, and nothing changed, when fenced."""
    entries = [_to_entry(result) for result in results]
    packed = _pack(list(zip(entries, (result.line for result in results), strict=True)))
    return _commit(shard, attempt, packed, entries, lease_seconds=lease_seconds)


def finish(shard: Shard, attempt: int, results: Sequence[Result], *, advance: bool) -> bool:
    """Commit the last results and make the shard done, with one segment in input order. False when fenced.

    With `advance`, the batch moves to finalizing in the same transaction when this was its last shard.
    """
    old = list(shard.segments.order_by("id"))
    merged: dict[int, tuple[Entry, Kept | bytes]] = {
        kept.entry.index: (kept.entry, kept) for kept in kept_lines(shard, old)
    }
    new = [_to_entry(result) for result in results]
    merged |= {
        entry.index: (entry, result.line) for entry, result in zip(new, results, strict=True)
    }
    assert len(merged) == shard.lines, f"{shard}: {len(merged)} results of {shard.lines} lines"
    in_order = [merged[index] for index in range(shard.lines)]
    packed = _pack(_with_lines(in_order, old))
    return _commit(shard, attempt, packed, new, replaces=old, advance=advance)


# Packing


@dataclasses.dataclass(frozen=True, slots=True)
class _Packed:
    pieces: list[bytes]
    sums: dict[str, int]  # the columns of Segment
    causes: dict[str, int] | None


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
    entries = [entry for entry, _ in lines]
    sums = {"output_bytes": sum(map(len, output)), "error_bytes": sum(map(len, error))}
    causes = Counter(entry.cause for entry in entries if not entry.completed) if error else None
    pieces = [*output, *error, _encoder.encode_lines(entries)]
    return _Packed(pieces, sums | _sums(entries), causes)


def _sums(entries: Sequence[Entry]) -> dict[str, int]:
    completed = sum([entry.completed for entry in entries])
    sums = {"completed": completed, "failed": len(entries) - completed}
    for name in USAGE:
        sums[name] = sum(map(operator.attrgetter(name), entries))
    return sums


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
    new: Sequence[Entry],
    *,
    lease_seconds: float = 0,
    replaces: Sequence[Segment] | None = None,
    advance: bool = False,
) -> bool:
    stored = store(b"".join(packed.pieces))
    with transaction.atomic():
        now, finished = database_now(), replaces is not None
        if not _keep(shard, finished, now + datetime.timedelta(seconds=lease_seconds)):
            storage().delete(stored.key)
            return False
        Segment.objects.create(
            shard=shard,
            blob=save_blob(stored),
            attempt=attempt,
            causes=packed.causes,
            **packed.sums,
        )
        _count(shard.batch_id, attempt, _sums(new))
        traffic.note(shard.batch_id, new, now)
        if replaces:
            Segment.objects.filter(pk__in=[segment.pk for segment in replaces]).delete()
            transaction.on_commit(lambda: drop_blobs([segment.blob_id for segment in replaces]))
        if advance:
            _advance(shard.batch_id)
    return True


def _keep(shard: Shard, finished: bool, until: datetime.datetime) -> bool:
    """The fence: one UPDATE that only the present epoch passes."""
    if finished:
        return bool(_end.run(shard=shard.pk, epoch=shard.epoch))
    return bool(_renew.run(shard=shard.pk, epoch=shard.epoch, until=until))


def _held() -> QuerySet[Shard]:
    return Shard.objects.filter(pk=Given("shard"), epoch=Given("epoch"), state=Shard.State.RUNNING)


_end = PreparedUpdate(_held, state=Shard.State.DONE, owner=None, lease_expires_at=None, deaths=0)
_renew = PreparedUpdate(
    _held,
    lease_expires_at=Given("until", DateTimeField()),
    # Something got done, so what it died of lies ahead. Once lines run one by one, they go on so.
    deaths=Case(When(deaths__gte=ONE_BY_ONE_AFTER, then=ONE_BY_ONE_AFTER), default=0),
)


def _count(batch_id: str, attempt: int, sums: dict[str, int]) -> None:
    _add.run(batch=batch_id, attempt=attempt, **{name: sums[name] for name in COUNTS})


_add = PreparedUpdate(
    lambda: Batch.objects.filter(pk=Given("batch"), attempt=Given("attempt")),
    **{name: F(name) + Given(name, BigIntegerField()) for name in COUNTS},
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
    for key in [key for key in keys if _drop.run(key=key)]:
        storage().delete(key)


_drop = PreparedDelete(lambda: Blob.objects.filter(pk=Given("key")).unreferenced())
