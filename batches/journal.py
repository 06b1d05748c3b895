"""The journal of a shard: results as they come, committed by the database, and in the end in input order.

A segment's blob holds output lines, then error lines, then an index: an entry per line, as JSON arrays, with
what people ask about a line. The object is durable before the row that names it, and every commit carries the
epoch of the shard: an owner whose lease was taken over changes nothing.
"""

import dataclasses
import datetime
import itertools
import logging
import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import BigIntegerField, Case, DateTimeField, F, QuerySet, When

from api.clock import database_now
from api.prepared import Given, Prepared, PreparedDelete, PreparedInsert, PreparedUpdate
from batches import hints, traffic
from batches.executor.lines import UNKNOWN_ID, Code, Entry, Request, Result, closing_line
from batches.input import Input
from batches.models import USAGE, Batch, Segment, Shard, Status
from batches.models.shard import ONE_BY_ONE_AFTER
from files.content import store
from files.models import Blob
from files.storage import Missing, Reader, storage

logger = logging.getLogger(__name__)

ENGINE = "engine"
COUNTS = ("completed", "failed", *USAGE)  # of a batch
IN_MEMORY = 64 * 1024 * 1024  # segments of up to this size are merged in memory


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
    """The shard's request lines that have no result yet, or whose result the storage has lost: they run again.

    Raises files.storage.Missing when it has lost the requests.
    """
    try:
        done = answered(shard)
    except Missing:
        _drop_lost(shard)
        done = answered(shard)
    return Input(input_file_id).requests(shard, done)


def _drop_lost(shard: Shard) -> None:
    """Forget the segments that cannot be read. An answer that can be had again is better than a batch that never ends."""
    for segment in shard.segments.all():
        try:
            list(read_index(segment))
        except Missing as missing:
            logger.error("Results of shard %s are lost, and run again: %s", shard, missing)
            with transaction.atomic():
                if Segment.objects.filter(pk=segment.pk).delete()[0]:
                    counted = {name: -getattr(segment, name) for name in COUNTS}
                    counted["failed"] = -segment.counted_failures()
                    batch = Batch.objects.filter(pk=shard.batch_id)
                    batch.update(**{name: F(name) + count for name, count in counted.items()})


def lost_requests(shard: Shard) -> list[Request]:
    """Stand-ins for the unanswered lines of a shard whose input is lost: nobody knows their ids any more."""
    done = answered(shard)
    return [
        Request(index=index, line=0, custom_id=UNKNOWN_ID, body=b"")
        for index in range(shard.lines)
        if index not in done
    ]


def closed(request: Request, code: Code) -> Result:
    """The result of a request that was never run, or has no answer."""
    line = closing_line(request, code)
    return Result.of(request, line, attempts=0, status=None, cause=code, latency_ms=0)


def kept_lines(shard: Shard, segments: Iterable[Segment] | None = None) -> Iterator[Kept]:
    """Every line of the shard that has a result, except failures that run again. Raises files.storage.Missing.

    `segments`: those of the shard, if they are at hand.
    """
    for segment in _segments.all(shard=shard.pk) if segments is None else segments:
        for kept in read_index(segment):
            entry = kept.entry
            if entry.completed or segment.still_fails(entry.cause, entry.index):
                yield kept


def read_index(segment: Segment) -> Iterator[Kept]:
    """The entries of a segment, each with its line's place in the blob.

    Raises files.storage.Missing when the storage has lost or changed them.
    """
    with storage().read(segment.blob_id, segment.output_bytes + segment.error_bytes) as reader:
        index = _read_all(reader)
    for entry, start in _placed(segment, index):
        yield Kept(entry, segment.blob_id, start)


def _placed(segment: Segment, index: bytes) -> Iterator[tuple[Entry, int]]:
    """The entries of an index, each with where its line begins in the segment's blob."""
    try:
        entries: list[Entry] = _entry.decode_lines(index)
    except ValueError as error:
        raise Missing(f"The index of {segment.blob_id} cannot be read: {error}") from error
    output = itertools.accumulate([entry.bytes for entry in entries if entry.completed], initial=0)
    if not segment.failed:
        return zip(entries, output, strict=False)  # the last one is the end
    failed = [entry.bytes for entry in entries if not entry.completed]
    errors = itertools.accumulate(failed, initial=segment.output_bytes)
    return ((entry, next(output if entry.completed else errors)) for entry in entries)


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


def record(
    shard: Shard,
    attempt: int,
    results: Sequence[Result],
    lease_seconds: float,
    *,
    of_the_dead: bool = False,
) -> bool:
    """Commit results of a shard that goes on, and renew its lease. False, and nothing changed, when fenced.

    of_the_dead: an owner had them before it died, so they say nothing of what it died of.
    """
    packed = _pack([result.entry for result in results], [result.line for result in results])
    keep = _renew_only if of_the_dead else _renew
    return _commit(shard, attempt, packed, packed.entries, keep, lease_seconds)


def finish(shard: Shard, attempt: int, results: Sequence[Result], *, advance: bool) -> bool:
    """Commit the last results and make the shard done, with one segment in input order. False when fenced.

    With `advance`, the batch moves to finalizing in the same transaction when this was its last shard.
    """
    old = _segments.all(shard=shard.pk)
    entries: list[Any] = [None] * shard.lines
    lines: list[bytes | Kept] = [b""] * shard.lines
    for entry, line in _kept_places(shard, old):
        entries[entry.index], lines[entry.index] = entry, line
    for result in results:
        entries[result.entry.index], lines[result.entry.index] = result.entry, result.line
    assert set(map(type, entries)) == {Entry}, f"{shard}: lines without a result"
    packed = _pack(entries, lines)
    new = [result.entry for result in results]
    return _commit(shard, attempt, packed, new, _end, replaces=old, advance=advance)


# Packing


@dataclasses.dataclass(frozen=True, slots=True)
class _Packed:
    entries: Sequence[Entry]
    pieces: Iterable[bytes]
    sums: dict[str, int]  # the columns of Segment
    causes: dict[str, int] | None


def _kept_places(shard: Shard, old: list[Segment]) -> Iterator[tuple[Entry, bytes | Kept]]:
    """The lines that stay: fetched, by whole blobs, while those are small; else where each of them lies."""
    if sum(segment.output_bytes + segment.error_bytes for segment in old) > IN_MEMORY:
        yield from ((kept.entry, kept) for kept in kept_lines(shard, old))
        return
    for segment in old:
        with storage().read(segment.blob_id) as reader:
            blob = _read_all(reader)
        index = blob[segment.output_bytes + segment.error_bytes :]
        for entry, start in _placed(segment, index):
            if entry.completed or segment.still_fails(entry.cause, entry.index):
                yield entry, blob[start : start + entry.bytes]


def _pack(entries: Sequence[Entry], lines: Sequence[bytes | Kept]) -> _Packed:
    sums = _sums(entries)
    output, error = lines, []
    if sums["failed"]:
        output = [line for entry, line in zip(entries, lines, strict=True) if entry.completed]
        error = [line for entry, line in zip(entries, lines, strict=True) if not entry.completed]
    sums["output_bytes"] = sum([entry.bytes for entry in entries if entry.completed])
    sums["error_bytes"] = sum([entry.bytes for entry in entries]) - sums["output_bytes"]
    causes = Counter(entry.cause for entry in entries if not entry.completed) if error else None
    pieces = _pieces([*output, *error], _encoder.encode_lines(entries))
    return _Packed(entries, pieces, sums, causes)


def _pieces(lines: Sequence[bytes | Kept], index: bytes) -> Iterator[bytes]:
    """What a blob consists of, joined as far as it is at hand: a piece costs more than its bytes."""
    if Kept not in set(map(type, lines)):
        yield b"".join([*lines, index])  # type: ignore[list-item]  # none of them is Kept
        return
    at_hand: list[bytes] = []
    for line in lines:
        if isinstance(line, Kept):
            yield b"".join(at_hand)
            at_hand.clear()
            yield read_line(line)
        else:
            at_hand.append(line)
    yield b"".join([*at_hand, index])


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
    keep: PreparedUpdate,
    lease_seconds: float = 0,
    *,
    replaces: Sequence[Segment] = (),
    advance: bool = False,
) -> bool:
    """keep: the fence, one UPDATE of the shard that only its present epoch passes."""
    stored = store(packed.pieces)
    with transaction.atomic():
        now = database_now()
        until = now + datetime.timedelta(seconds=lease_seconds)
        if not keep.run(shard=shard.pk, epoch=shard.epoch, until=until):
            storage().delete(stored.key)
            return False
        _save_blob.run(key=stored.key, bytes=stored.bytes, sha256=stored.sha256, created_at=now)
        _save_segment.run(
            shard_id=shard.pk,
            blob_id=stored.key,
            attempt=attempt,
            causes=packed.causes,
            **packed.sums,
        )
        sums = packed.sums if new is packed.entries else _sums(new)
        _count(shard.batch_id, attempt, sums)
        traffic.note(shard.batch_id, new, now)
        if replaces:
            removed = _remove_segments.run(shard=shard.pk, last=replaces[-1].pk)
            assert removed == len(replaces), f"{shard}: {removed} segments of {len(replaces)}"
            transaction.on_commit(lambda: drop_blobs([segment.blob_id for segment in replaces]))
        if advance:
            _advance(shard.batch_id)
    return True


def _held() -> QuerySet[Shard]:
    return Shard.objects.filter(pk=Given("shard"), epoch=Given("epoch"), state=Shard.State.RUNNING)


_end = PreparedUpdate(
    _held,
    state=Shard.State.DONE,
    owner=None,
    lease_expires_at=None,
    deaths=0,
    calling=False,
    lost_by="",
)
_renew = PreparedUpdate(
    _held,
    lease_expires_at=Given("until", DateTimeField()),
    # Something got done, so what it died of lies ahead. Once lines run one by one, they go on so.
    deaths=Case(When(deaths__gte=ONE_BY_ONE_AFTER, then=ONE_BY_ONE_AFTER), default=0),
    calling=False,
    lost_by="",
)
_renew_only = PreparedUpdate(_held, lease_expires_at=Given("until", DateTimeField()), lost_by="")

_segments: Prepared[Segment] = Prepared(
    lambda: Segment.objects.filter(shard=Given("shard")).order_by("id")
)
_remove_segments = PreparedDelete(
    lambda: Segment.objects.filter(shard=Given("shard"), pk__lte=Given("last"))
)
_save_blob = PreparedInsert(Blob, ["key", "bytes", "sha256", "created_at"])
_save_segment = PreparedInsert(
    Segment,
    ["shard_id", "blob_id", "attempt", "output_bytes", "error_bytes", *COUNTS, "causes"],
)


def _count(batch_id: str, attempt: int, sums: dict[str, int]) -> None:
    _add.run(batch=batch_id, attempt=attempt, **{name: sums[name] for name in COUNTS})


_add = PreparedUpdate(
    lambda: Batch.objects.filter(pk=Given("batch"), attempt=Given("attempt")),
    **{name: F(name) + Given(name, BigIntegerField()) for name in COUNTS},
)


def _advance(batch_id: str) -> None:
    """Have the batch ended when every shard is done. The row was locked by the count, so one of two last ones sees it."""
    if _open_shard.rows(batch=batch_id):
        return
    batch = Batch.objects.get(pk=batch_id)
    if batch.status == Status.IN_PROGRESS and not batch.closed_by:
        batch.move(Status.FINALIZING, actor=ENGINE)
    hints.ring("finalize_batch", batch_id)


_open_shard: Prepared[Any] = Prepared(
    lambda: (
        Shard.objects.filter(batch=Given("batch"))
        .exclude(state=Shard.State.DONE)
        .order_by()
        .values_list("pk")[:1]
    )
)


def drop_blobs(keys: Sequence[str]) -> None:
    """Remove blobs that nothing refers to any more: rows first, then objects."""
    for key in [key for key in keys if _drop.run(key=key)]:
        storage().delete(key)


_drop = PreparedDelete(lambda: Blob.objects.filter(pk=Given("key")).unreferenced())
