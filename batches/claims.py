"""Which shards an engine takes next: those of the owner with the least in flight, and of that owner's batches the one due first.

So a batch of ten lines never waits behind a batch of a million.
"""

import dataclasses
import datetime
from typing import Any

from django.conf import settings
from django.db.models import Exists, Min, OuterRef, Q, Sum

from api.clock import database_now
from batches import shares
from batches.models import Batch, Engine, Shard
from batches.shares import Thing

Owner = tuple[int, int | None]  # account, external user
MOST_AT_ONCE = 20  # shards of one claim: its transactions stay short, and others get their turn


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """A shard that is ours, and what the batch's and the upstream's limit allow this engine."""

    shard: Shard
    batch: Batch
    slots: dict[Thing, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Hand:
    """What an engine has already: of which owners, and whose lines would only pile up in it."""

    owners: frozenset[Owner] = frozenset()
    full_owners: frozenset[Owner] = frozenset()
    full_batches: frozenset[str] = frozenset()
    full_places: frozenset[tuple[int, str]] = frozenset()  # upstreams and models, at their pace
    down: frozenset[int] = frozenset()  # upstreams it has lines for, and that do not answer
    things: frozenset[Thing] = frozenset()  # whose limits it shares in
    is_empty: bool = True
    is_alone: bool = False  # with a shard beside which it must not have another


def claim_shards(engine: Engine, wanted: int, hand: Hand) -> list[Claim]:
    """Claim about `wanted` lines. When none are wanted, or only of places that are full, one shard may come all the same,
    of an owner not in the hand.

    So nobody waits because an engine is full of somebody else's lines. A shard whose owners died comes alone:
    whoever dies of it then takes no other shard along.
    """
    if hand.is_alone:
        return []
    now = database_now()
    if hand.is_empty and wanted > 0 and Shard.objects.claimable(now).suspect().exists():
        suspect = _Search(engine, now, hand, suspect=True).next()
        if suspect is not None:
            return [suspect]
    search = _Search(engine, now, hand)
    claims: list[Claim] = []
    lines = 0
    while lines < wanted and len(claims) < MOST_AT_ONCE and (claim := search.next()):
        claims.append(claim)
        lines += claim.shard.lines
    if wanted <= 0 or (hand.full_places and not claims):
        search.full_places = frozenset()
        if claim := search.next(without=hand.owners):
            claims.append(claim)
    return claims


class _Search:
    """One look at what there is to claim; it remembers what it took and what it could not have."""

    def __init__(
        self, engine: Engine, now: datetime.datetime, hand: Hand, *, suspect: bool = False
    ) -> None:
        self.engine = engine
        self.now = now
        self.uses = set(hand.things)
        self.full: dict[str, set[Any]] = {
            "batch": set(hand.full_batches),
            "upstream": set(hand.down),
        }
        self.full_places = hand.full_places
        self.full_owners = hand.full_owners
        shards = Shard.objects.all()
        self.shards = shards.suspect() if suspect else shards.unsuspected()
        self.load = self._load()

    def next(self, without: frozenset[Owner] = frozenset()) -> Claim | None:
        while (owner := self._owner(without)) is not None:
            batch = self._batches(owner).select_related("upstream").order_by("expires_at", "id")[0]
            slots = self._admit(batch)
            if slots is None:
                continue
            shard = self._claim_one(batch)
            if shard is None:  # others were quicker; this batch has nothing left
                self.full["batch"].add(batch.pk)
                continue
            self.load[owner] = self.load.get(owner, 0) + shard.lines
            return Claim(shard, batch, slots)
        return None

    def _load(self) -> dict[Owner, int]:
        """Lines in the hands of living engines, by owner."""
        running = Shard.objects.filter(
            state=Shard.State.RUNNING, lease_expires_at__gte=self.now
        ).values_list("batch__account", "batch__external_user")
        return {(account, user): lines for account, user, lines in running.annotate(Sum("lines"))}

    def _candidates(self) -> Any:
        claimable = self.shards.filter(batch=OuterRef("pk"))
        full = Q()
        for upstream, model in self.full_places:
            full |= Q(upstream=upstream, model=model) if model else Q(upstream=upstream, model=None)
        return (
            Batch.objects.running(self.now)
            .filter(upstream__isnull=False, upstream__paused_at__isnull=True)
            .exclude(pk__in=self.full["batch"])
            .exclude(upstream__in=self.full["upstream"])
            .exclude(full)
            .filter(
                Exists(claimable.filter(state=Shard.State.WAITING))
                | Exists(claimable.filter(state=Shard.State.RUNNING, lease_expires_at__lt=self.now))
            )
        )

    def _owner(self, without: frozenset[Owner]) -> Owner | None:
        groups = self._candidates().values_list("account", "external_user")
        owners = [
            (self.load.get((account, user), 0), due, (account, user))
            for account, user, due in groups.annotate(Min("expires_at"))
            if (account, user) not in without | self.full_owners
        ]
        return min(owners, key=lambda item: item[:2])[2] if owners else None

    def _batches(self, owner: Owner) -> Any:
        account, user = owner
        batches = self._candidates().filter(account=account)
        return (
            batches.filter(external_user__isnull=True)
            if user is None
            else batches.filter(external_user=user)
        )

    def _admit(self, batch: Batch) -> dict[Thing, int] | None:
        """The slots this engine gets; None when the batch or its upstream has none left for it."""
        granted: dict[Thing, int] = {}
        things: list[Thing] = [("batch", batch.pk), ("upstream", batch.upstream_id)]
        for thing in things:
            if thing in self.uses:
                continue
            slots = shares.admit(self.engine, thing, settings.ENGINE_CONCURRENCY, self.now)
            if slots == 0:
                self.full[thing[0]].add(thing[1])
                return None
            if slots is not None:
                granted[thing] = slots
            self.uses.add(thing)
        return granted

    def _claim_one(self, batch: Batch) -> Shard | None:
        for shard in self.shards.filter(batch=batch).claimable(self.now).order_by("number")[:5]:
            if shard.claim(self.engine, settings.BATCH_LEASE_SECONDS, self.now):
                return shard
        return None
