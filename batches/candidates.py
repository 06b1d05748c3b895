"""What can be claimed: owners with work, the first batch of an owner, the next shards of a batch.

Queries that every engine asks many times a minute, so their SQL is written once for each shape of what is left out.
"""

import dataclasses
import datetime
import functools
from typing import Any

from django.db.models import DateTimeField, Exists, Min, OuterRef, Q, QuerySet, Sum

from api.prepared import Given, Prepared, as_moment
from batches.models import Batch, Shard, Upstream

Owner = tuple[int, int | None]  # account, external user
Rank = tuple[
    int, datetime.datetime
]  # of a batch: the higher priority, then the earlier end, is less
SHARDS = 5  # looked at, since others may be quicker

_now = Given("now", DateTimeField())


@dataclasses.dataclass(slots=True)
class LeftOut:
    """What is not to be claimed: batches, upstreams, and upstreams with a model ("" for those without)."""

    batches: set[str]
    upstreams: set[int]
    places: frozenset[tuple[int, str]]

    def shape(self) -> tuple[int, int, tuple[bool, ...]]:
        return len(self.batches), len(self.upstreams), tuple(bool(m) for _, m in self._places())

    def values(self) -> dict[str, Any]:
        values: dict[str, Any] = {f"batch{n}": batch for n, batch in enumerate(self.batches)}
        values |= {f"upstream{n}": upstream for n, upstream in enumerate(self.upstreams)}
        for n, (upstream, model) in enumerate(self._places()):
            values |= {f"place{n}": upstream, f"model{n}": model}
        return values

    def _places(self) -> list[tuple[int, str]]:
        return sorted(self.places)


class Candidates:
    """What can be claimed at a moment.

    suspect: of the shards whose next owner is to have nothing else, or of all the others.
    """

    def __init__(self, now: datetime.datetime, *, suspect: bool = False) -> None:
        self.now = now
        self.suspect = suspect

    def exist(self) -> bool:
        """Whether there may be any, without a look at their batches."""
        return bool(_any(self.suspect).rows(now=self.now))

    def owners(self, left_out: LeftOut) -> dict[Owner, Rank]:
        """Each owner, with the rank of its first batch."""
        query = _owners(left_out.shape(), self.suspect)
        found: dict[Owner, Rank] = {}
        for account, user, priority, due in query.rows(now=self.now, **left_out.values()):
            rank = -priority, as_moment(due)
            owner = account, user
            found[owner] = min(rank, found.get(owner, rank))
        return found

    def first_batch(self, owner: Owner, left_out: LeftOut) -> Batch | None:
        """The owner's batch of the highest priority that is due first, with its upstream."""
        account, user = owner
        query = _batch(left_out.shape(), self.suspect, user is None)
        batch = query.first(now=self.now, account=account, user=user, **left_out.values())
        if batch is not None:
            batch.upstream = _upstream.first(pk=batch.upstream_id)
        return batch

    def shards(self, batch: Batch) -> list[Shard]:
        """Its next shards."""
        return _shards(self.suspect).all(now=self.now, batch=batch.pk)


def rank_of(batch: Batch) -> Rank:
    return -batch.priority, batch.expires_at


def lines_in_hand(now: datetime.datetime) -> dict[Owner, int]:
    """Lines in the hands of living engines, by owner."""
    return {(account, user): lines for account, user, lines in _in_hand.rows(now=now)}


def _of_kind(suspect: bool) -> Any:
    shards = Shard.objects.all()
    return shards.suspect() if suspect else shards.unsuspected()


@functools.cache
def _any(suspect: bool) -> Prepared[Any]:
    return Prepared(lambda: _of_kind(suspect).claimable(_now).values_list("pk")[:1])


def _batches(shape: tuple[int, int, tuple[bool, ...]], suspect: bool) -> QuerySet[Batch]:
    batches, upstreams, places = shape
    claimable = _of_kind(suspect).filter(batch=OuterRef("pk"))
    full = Q()
    for n in range(upstreams):
        full |= Q(upstream=Given(f"upstream{n}"))
    for n, has_model in enumerate(places):
        model = Given(f"model{n}") if has_model else None
        full |= Q(upstream=Given(f"place{n}"), model=model)
    return (
        Batch.objects.running(_now)
        .filter(upstream__isnull=False, upstream__paused_at__isnull=True)
        .exclude(pk__in=[Given(f"batch{n}") for n in range(batches)])
        .exclude(full)
        .filter(
            Exists(claimable.filter(state=Shard.State.WAITING))
            | Exists(claimable.filter(state=Shard.State.RUNNING, lease_expires_at__lt=_now))
        )
    )


@functools.lru_cache(64)
def _owners(shape: tuple[int, int, tuple[bool, ...]], suspect: bool) -> Prepared[Any]:
    return Prepared(
        lambda: (
            _batches(shape, suspect)
            .values_list("account", "external_user", "priority")
            .annotate(Min("expires_at"))
        )
    )


@functools.lru_cache(64)
def _batch(
    shape: tuple[int, int, tuple[bool, ...]], suspect: bool, of_nobody: bool
) -> Prepared[Batch]:
    user = None if of_nobody else Given("user")
    return Prepared(
        lambda: (
            _batches(shape, suspect)
            .filter(account=Given("account"), external_user=user)
            .order_by("-priority", "expires_at", "id")[:1]
        )
    )


@functools.cache
def _shards(suspect: bool) -> Prepared[Shard]:
    shards = _of_kind(suspect)
    return Prepared(
        lambda: shards.filter(batch=Given("batch")).claimable(_now).order_by("number")[:SHARDS]
    )


_upstream: Prepared[Upstream] = Prepared(lambda: Upstream.objects.filter(pk=Given("pk")))
_in_hand: Prepared[Any] = Prepared(
    lambda: (
        Shard.objects.filter(state=Shard.State.RUNNING, lease_expires_at__gte=_now)
        .values_list("batch__account", "batch__external_user")
        .annotate(Sum("lines"))
    )
)
