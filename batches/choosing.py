"""Choose failed lines of a batch: by what they failed of, by their numbers, by their custom_ids."""

import bisect
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from django.db.models import F, QuerySet

from batches import journal
from batches.inspection import custom_id_of
from batches.models import Batch, Segment, Shard

MOST = 1000  # lines that are chosen one by one
LOOKED_AT = 20_000  # segments whose causes are counted at once
_SPAN = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


def causes_of(batches: QuerySet[Any]) -> dict[str, int]:
    """For how many lines each cause is the reason that they failed, the most frequent first.

    From the first LOOKED_AT pieces of results that have failures; a batch has one for a thousand lines or so.
    """
    failing = Segment.objects.filter(shard__batch__in=batches.order_by().values("pk"), failed__gt=0)
    counts: Counter[str] = Counter()
    for segment in failing.only("causes", "rerun", "failed", "blob_id")[:LOOKED_AT].iterator():
        counts.update(journal.causes(segment))
    return dict(counts.most_common())


def causes_of_each(batches: Iterable[Batch]) -> dict[str, dict[str, int]]:
    """The same for each of a few batches, by their ids: in one question, and without a look at the storage."""
    failing = Segment.objects.filter(
        shard__batch__in=[batch.pk for batch in batches], failed__gt=0, causes__isnull=False
    )
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    segments: QuerySet[Any] = failing.annotate(of=F("shard__batch")).only("causes", "rerun")
    for segment in segments[:LOOKED_AT]:
        causes = segment.causes.items()
        counts[segment.of].update({c: n for c, n in causes if segment.still_fails(c, -1)})
    return {batch: dict(found.most_common()) for batch, found in counts.items()}


def failed_lines(
    batch: Batch, numbers: Collection[int] = (), custom_ids: Collection[str] = ()
) -> list[int]:
    """The numbers of those of these lines that have failed, in order. Raises files.storage.Missing."""
    starts = _starts(batch)
    failing = Segment.objects.of(batch).filter(failed__gt=0)
    if not custom_ids:  # else any of them may have it
        shards = {bisect.bisect_right(starts, number - 1) - 1 for number in numbers}
        failing = failing.filter(shard__number__in=shards)
    wanted, names = set(numbers), set(custom_ids)
    return sorted(
        number
        for number, custom_id in _failed(failing, starts)
        if number in wanted or custom_id in names
    )


def _failed(failing: QuerySet[Segment], starts: list[int]) -> Iterator[tuple[int, str]]:
    for segment in failing.select_related("shard").order_by("pk"):
        for kept in journal.read_index(segment):
            entry = kept.entry
            if not entry.completed and segment.still_fails(entry.cause, entry.index):
                number = starts[segment.shard.number] + entry.index + 1
                yield number, custom_id_of(bytes(entry.custom_id))


def places(batch: Batch, numbers: Iterable[int]) -> Mapping[int, list[int]]:
    """Where lines are: by the number of their shard, their indexes in it. Numbers beyond the end are nowhere."""
    starts = _starts(batch)
    found: dict[int, list[int]] = {}
    for number in numbers:
        if 1 <= number <= starts[-1]:
            shard = bisect.bisect_right(starts, number - 1) - 1
            found.setdefault(shard, []).append(number - 1 - starts[shard])
    return found


def _starts(batch: Batch) -> list[int]:
    """How many lines come before each shard; at the end, how many there are."""
    sizes = Shard.objects.filter(batch=batch).order_by("number").values_list("lines", flat=True)
    return list(itertools.accumulate(sizes, initial=0))


def read_numbers(text: str) -> list[int]:
    """Numbers and spans of them, as in `7, 20-35`, in order. Raises ValueError, also for more than MOST."""
    found: set[int] = set()
    for word in re.split(r"[\s,;]+", text.strip()):
        if not word:
            continue
        span = _SPAN.fullmatch(word)
        if span is None:
            raise ValueError(f"“{word[:20]}” is no number of a line, and no span such as 20-35.")
        first, last = int(span[1]), int(span[2] or span[1])
        if len(found) + max(last - first + 1, 0) > MOST:
            raise ValueError(
                f"More than {MOST:,} lines. Choose by cause, or requeue all failed ones."
            )
        found.update(range(first, last + 1))
    return sorted(found)


def written(numbers: Iterable[int]) -> str:
    """The opposite of `read_numbers`."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(f"{a}-{b}" if b > a else str(a) for a, b in spans)
