"""What an engine that died had answers for already: they are taken over with its shard, not asked for again."""

from pathlib import Path

from django.conf import settings

from batches.executor.lines import Request, Result
from batches.executor.spool import Spool, forget_spools, spooled
from batches.models import Engine, Shard
from batches.models.shard import ONE_BY_ONE_AFTER


def spool_of(engine: Engine) -> Spool:
    """Where an engine keeps the answers that it has not recorded."""
    return Spool(_directory(), engine.pk)


def _directory() -> Path:
    return Path(settings.STORAGE_DIR) / "spool"


def salvage(shard: Shard, requests: list[Request]) -> tuple[list[Result], list[Request]]:
    """Return the results that the shard's last owner had when its lease lapsed, and the requests without one.

    No results for a shard whose lines run one by one: perhaps it is an answer that its owners died of.
    """
    if shard.lost_by is None or shard.deaths >= ONE_BY_ONE_AFTER:
        return [], requests
    ids = {request.index: request.custom_id for request in requests}
    found: dict[int, Result] = {}
    for result in spooled(_directory(), shard.lost_by, shard.pk, shard.epoch - 1):
        entry = result.entry
        if ids.get(entry.index) == bytes(entry.custom_id):
            found[entry.index] = result
    return list(found.values()), [request for request in requests if request.index not in found]


def purge() -> None:
    """Delete what engines that are long gone have left, unless nobody has taken over their shards yet."""

    def living(names: set[str]) -> set[str]:
        return set(Engine.objects.filter(pk__in=names).values_list("pk", flat=True))

    forget_spools(_directory(), living, settings.ORPHAN_GRACE_SECONDS)
