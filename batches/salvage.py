"""What engines that died had answers for already: it is taken over with their shards, not asked for again."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from django.conf import settings

from batches.executor.lines import UNKNOWN_ID, Request, Result
from batches.executor.spool import Spool, forget_spools, spooled
from batches.models import Engine, Shard
from batches.models.shard import ONE_BY_ONE_AFTER


def spool_of(engine: Engine) -> Spool:
    """Where an engine keeps the answers that it has not recorded."""
    return Spool(_directory(), engine.pk)


def _directory() -> Path:
    return Path(settings.STORAGE_DIR) / "spool"


def left_behind(shards: Iterable[tuple[Shard, int]]) -> dict[int, list[Result]]:
    """What the last owners of these shards had of them, by the shard's id: a result a line, recorded or not.

    shards: just claimed, each with the attempt of its batch. Nothing of one whose lines run one by one: perhaps it is
    an answer that its owners died of.
    """
    wanted: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for shard, attempt in shards:
        if shard.deaths < ONE_BY_ONE_AFTER:
            for name in shard.lost_by.split():
                wanted[name].add((shard.pk, attempt))
    found: dict[int, list[Result]] = defaultdict(list)
    for name, works in wanted.items():
        for key, result in spooled(_directory(), name, works):
            found[key].append(result)
    return found


def salvage(
    left: Sequence[Result], requests: Sequence[Request]
) -> tuple[list[Result], list[Request]]:
    """Return what was left behind for these requests, and the requests without it."""
    ids = {request.index: request.custom_id for request in requests}
    results = [
        result
        for result in left
        if ids.get(result.entry.index) in (bytes(result.entry.custom_id), UNKNOWN_ID)
    ]
    done = {result.entry.index for result in results}
    return results, [request for request in requests if request.index not in done]


def purge() -> None:
    """Delete what engines that are long gone have left, unless nobody has taken over their shards yet."""

    def needed(names: set[str]) -> set[str]:
        living = Engine.objects.filter(pk__in=names).values_list("pk", flat=True)
        waited_for = Shard.objects.exclude(lost_by="").values_list("lost_by", flat=True)
        return names & {*living, *" ".join(waited_for).split()}

    forget_spools(_directory(), needed, settings.ORPHAN_GRACE_SECONDS)
