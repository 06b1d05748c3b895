"""Look at single lines: a page of a batch's lines, why lines failed, one line with its request and its answer.

Read from the index of the segments and, for lines without a result, from the input file: of a batch of any size only
the shards that a page needs, and at most LOOKS of them.
"""

import bisect
import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from django.db.models import Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from batches import journal
from batches.executor.lines import MESSAGES, Code
from batches.input import Input
from batches.journal import Kept
from batches.models import Batch, Segment, Shard
from files.storage import Missing

LOOKS = 100  # shards that one page looks into
CHUNK = LOOKS + 1  # of them at a time: one more than a page looks into tells that it goes on
OPEN_LOOKS = 25  # as many looks is one into a shard whose input must be read
SHOWN_BYTES = 256 * 1024  # of a request or an answer
SAMPLE_CHARACTERS = 300

State = Literal["waiting", "running", "completed", "failed", "lost"]  # lost: by the storage
# What a line is that has no result, by the state of its shard.
OPEN_STATES: dict[Shard.State, State] = {
    Shard.State.WAITING: "waiting",
    Shard.State.RUNNING: "running",
    Shard.State.DONE: "lost",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a line is: its shard's number, and its index in it."""

    shard: int = 0
    index: int = 0

    def __str__(self) -> str:
        return f"{self.shard}.{self.index}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Raises ValueError."""
        shard, _, index = text.partition(".")
        if not (shard.isascii() and shard.isdecimal() and index.isascii() and index.isdecimal()):
            raise ValueError("A place is written as in 3.14.")
        return cls(int(shard[:9]), int(index[:9]))


@dataclasses.dataclass(frozen=True, slots=True)
class LineRow:
    """What is known of a line without reading its answer. Numbers are None while it has no result."""

    place: Place
    number: int  # of the requests of the batch, from 1
    custom_id: str
    state: State
    attempts: int | None = None
    status: int | None = None
    cause: str = ""
    latency_ms: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """Lines in the order of the input. `more`: where to look on; None at the end. It may have no lines and yet go on."""

    lines: list[LineRow]
    more: Place | None


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: of a state, of a cause (of failed ones), with a text in the custom_id."""

    state: State | None = None
    cause: str = ""
    custom_id: str = ""

    def fits(self, line: LineRow) -> bool:
        return (
            (self.state is None or line.state == self.state)
            and (not self.cause or line.cause == self.cause)
            and self.custom_id.lower() in line.custom_id.lower()
        )


EVERY = Wanted()


def lines(batch: Batch, wanted: Wanted = EVERY, start: Place = Place(), limit: int = 50) -> Page:
    """The first `limit` wanted lines from `start` on, as far as one look goes."""
    found: list[LineRow] = []
    shards = _shards(batch, wanted).filter(number__gte=start.shard).order_by("number")
    source, looks = Input(batch.input_file_id), 0
    for shard, before in _numbered(batch, shards):
        if looks >= LOOKS:
            return Page(found, Place(shard.number))
        looks += 1 if shard.state == Shard.State.DONE else OPEN_LOOKS
        first = start.index if shard.number == start.shard else 0
        for line in _lines_of(shard, before, source):
            if line.place.index >= first and wanted.fits(line):
                if len(found) == limit:
                    return Page(found, line.place)
                found.append(line)
    return Page(found, None)


def place_of(batch: Batch, number: int) -> Place:
    """Where the line of this number is; of the last one for a number beyond, of the first for one before."""
    before = _before(batch)
    number = max(1, min(number, before[-1]))
    shard = bisect.bisect_left(before, number) - 1
    return Place(shard, number - 1 - before[shard])


def _shards(batch: Batch, wanted: Wanted) -> QuerySet[Shard]:
    """The shards that may have wanted lines."""
    shards = Shard.objects.filter(batch=batch)
    if wanted.state == "waiting":
        return shards.filter(state=Shard.State.WAITING)
    if wanted.state == "running":
        return shards.filter(state=Shard.State.RUNNING)
    segments = Segment.objects.of(batch)
    if wanted.cause:
        of_cause = Q(causes__has_key=wanted.cause) | Q(causes__isnull=True)
        return shards.filter(pk__in=segments.filter(of_cause, failed__gt=0).values("shard"))
    if wanted.state == "failed":
        return shards.filter(pk__in=segments.filter(failed__gt=0).values("shard"))
    if wanted.state == "completed":
        return shards.filter(pk__in=segments.filter(completed__gt=0).values("shard"))
    return shards


def _before(batch: Batch) -> list[int]:
    """How many requests are before each shard, by its number; and how many there are."""
    sizes = batch.shards.order_by("number").values_list("lines", flat=True)
    return list(itertools.accumulate(sizes, initial=0))


def _numbered(batch: Batch, shards: QuerySet[Shard]) -> Iterator[tuple[Shard, int]]:
    """Yield each shard, with its segments, and the number of requests before it."""
    before = _before(batch)
    for start in itertools.count(0, CHUNK):
        chunk = list(shards.prefetch_related("segments")[start : start + CHUNK])
        for shard in chunk:
            yield shard, before[shard.number]
        if len(chunk) < CHUNK:
            return


def _lines_of(shard: Shard, before: int, source: Input) -> Iterator[LineRow]:
    kept = _kept(shard)
    open_ids = {} if len(kept) == shard.lines else _open_ids(shard, set(kept), source)
    state = OPEN_STATES[Shard.State(shard.state)]
    for index in range(shard.lines):
        place, number = Place(shard.number, index), before + index + 1
        if one := kept.get(index):
            yield _row(place, number, one)
        else:
            yield LineRow(place, number, open_ids.get(index, ""), state)


def _kept(shard: Shard) -> dict[int, Kept]:
    segments = sorted(shard.segments.all(), key=lambda segment: segment.pk)
    try:
        return {kept.entry.index: kept for kept in journal.kept_lines(shard, segments)}
    except Missing:
        return {}


def _row(place: Place, number: int, kept: Kept) -> LineRow:
    entry = kept.entry
    return LineRow(
        place,
        number,
        custom_id_of(bytes(entry.custom_id)),
        "completed" if entry.completed else "failed",
        entry.attempts,
        entry.status,
        entry.cause,
        entry.latency_ms,
        entry.input_tokens,
        entry.output_tokens,
    )


def _open_ids(shard: Shard, done: set[int], source: Input) -> dict[int, str]:
    try:
        found = source.requests(shard, done)
    except Missing:
        return {}
    return {request.index: custom_id_of(request.custom_id) for request in found}


def custom_id_of(custom_id: bytes) -> str:
    try:
        return str(json.loads(custom_id) or "")
    except ValueError:
        return custom_id.decode("utf-8", "replace")


# Causes


@dataclasses.dataclass(frozen=True, slots=True)
class Cause:
    """Why lines failed, and how many. `sample`: what one of them was told."""

    cause: str
    lines: int
    sample: str = ""

    @property
    def is_told(self) -> bool:
        """Whether the sample is what an upstream said, and so may hold some of a prompt or an answer."""
        return bool(self.sample) and self.cause not in MESSAGES

    def without_content(self) -> "Cause":
        return Cause(self.cause, self.lines) if self.is_told else self


def causes(batch: Batch, samples: int = 0) -> list[Cause]:
    """Each cause for which lines have failed, the most frequent first; the first so many with a sample."""
    counts: Counter[str] = Counter()
    segments: dict[str, Segment] = {}
    for segment in Segment.objects.of(batch).filter(failed__gt=0).order_by("pk"):
        of_segment = _failed(segment)
        counts.update(of_segment)
        segments |= dict.fromkeys(of_segment.keys() - segments.keys(), segment)
    return [
        Cause(cause, count, _sample(segments[cause], cause) if number < samples else "")
        for number, (cause, count) in enumerate(counts.most_common())
        if count
    ]


def _failed(segment: Segment) -> dict[str, int]:
    of_segment = journal.causes(segment)
    if segment.rerun is None:
        return of_segment
    if segment.rerun["lines"] is None:
        return {c: n for c, n in of_segment.items() if segment.still_fails(c, -1)}
    return Counter(kept.entry.cause for kept in _still_failed(segment))


def _still_failed(segment: Segment) -> Iterator[Kept]:
    for kept in journal.read_index(segment):
        entry = kept.entry
        if not entry.completed and segment.still_fails(entry.cause, entry.index):
            yield kept


def _sample(segment: Segment, cause: str) -> str:
    """What one line of a segment that failed of this cause was told, in a few words; "" if that cannot be read."""
    if cause in MESSAGES:
        return MESSAGES[Code(cause)]
    try:
        kept = next((one for one in _still_failed(segment) if one.entry.cause == cause), None)
        answer = journal.read_line(kept) if kept else None
    except Missing:
        return ""
    return _told(answer)[:SAMPLE_CHARACTERS]


# Where upstreams put what went wrong: OpenAI's own form first, then those of vLLM's and FastAPI's errors.
_MESSAGES = (
    ("error", "message"),
    ("response", "body", "error", "message"),
    ("response", "body", "error"),
    ("response", "body", "message"),
    ("response", "body", "detail"),
)


def _told(answer: bytes | None) -> str:
    """The message in a result line, wherever it is."""
    try:
        result: Any = msgspec.json.decode(answer or b"null")
    except ValueError:
        return ""
    for keys in _MESSAGES:
        found: Any = result
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, str):
            return found
    return ""


# One line


@dataclasses.dataclass(frozen=True, slots=True)
class LineDetail:
    """A line with its request and its answer as they stand; None for what is not there, or not any more."""

    row: LineRow
    request: bytes | None
    answer: bytes | None


def line(batch: Batch, place: Place) -> LineDetail | None:
    """One line, or None if the batch has no such one."""
    earlier = batch.shards.filter(number__lt=place.shard).order_by().values("batch")
    before = Coalesce(Subquery(earlier.values(n=Sum("lines"))), 0)
    shards: Any = batch.shards.filter(number=place.shard).annotate(before=before)
    shard = shards.prefetch_related("segments").first()
    if shard is None or place.index >= shard.lines:
        return None
    source = Input(batch.input_file_id)
    row = next(
        row for row in _lines_of(shard, shard.before, source) if row.place.index == place.index
    )
    kept = _kept(shard).get(place.index)
    try:
        answer = journal.read_line(kept) if kept else None
    except Missing:
        answer = None
    return LineDetail(row, _request(shard, place, source), answer)


def _request(shard: Shard, place: Place, source: Input) -> bytes | None:
    others = set(range(shard.lines)) - {place.index}
    try:
        (request,) = source.requests(shard, others)
    except (Missing, ValueError):
        return None
    return request.body


def pretty(content: bytes) -> str:
    """JSON in lines of its own, for reading; what is no JSON as it stands. At most SHOWN_BYTES of it."""
    shown = content[:SHOWN_BYTES]
    try:
        text = msgspec.json.format(shown, indent=2)
    except (ValueError, RecursionError):
        text = shown
    left = len(content) - len(shown)
    return text.decode("utf-8", "replace") + (f"\n... {left} bytes more" if left else "")
