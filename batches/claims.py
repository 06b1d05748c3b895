"""Which shards an engine takes next: of the highest priority, those of the owner with the least in flight, and of that
owner's batches the one due first.

So a batch of ten lines never waits behind a batch of a million, unless an operator has put that one first.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from api.clock import database_now
from batches import shares
from batches.candidates import Candidates, LeftOut, Owner, lines_in_hand, rank_of
from batches.models import Batch, Engine, Shard
from batches.paces import Place
from batches.shares import Thing

MOST_AT_ONCE = 20  # shards of one claim: its transactions stay short, and others get their turn
LINES_OF_UNKNOWN = (
    64  # for an upstream and model whose pace is not known here, if that many will do
)
MOST_BYTES_AT_ONCE = 32 * 1024 * 1024  # of its lines, but for the last shard's


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
    room: Mapping[Place, int] = dataclasses.field(default_factory=dict)  # lines, beside those here
    down: frozenset[int] = frozenset()  # upstreams it has lines for, and that do not answer
    things: frozenset[Thing] = frozenset()  # whose limits it shares in
    is_empty: bool = True
    is_alone: bool = False  # with a shard beside which it must not have another

    @property
    def full_places(self) -> frozenset[Place]:
        return frozenset(place for place, lines in self.room.items() if lines <= 0)


def claim_shards(engine: Engine, wanted: int, hand: Hand) -> list[Claim]:
    """Claim about `wanted` lines. When none are wanted, or only of places that are full, one shard may come all the same,
    of an owner not in the hand.

    So nobody waits because an engine is full of somebody else's lines. A shard whose owners died comes alone:
    whoever dies of it then takes no other shard along.
    """
    if hand.is_alone:
        return []
    now = database_now()
    suspects = Candidates(now, suspect=True)
    if hand.is_empty and wanted > 0 and suspects.exist():
        suspect = _Search(engine, suspects, hand).next()
        if suspect is not None:
            return [suspect]
    search = _Search(engine, Candidates(now), hand)
    claims: list[Claim] = []
    lines, room = 0, MOST_BYTES_AT_ONCE
    while lines < wanted and room > 0 and len(claims) < MOST_AT_ONCE and (claim := search.next()):
        claims.append(claim)
        lines += claim.shard.lines
        room -= claim.shard.end - claim.shard.start
    if wanted <= 0 or (hand.full_places and not claims):
        search.look_at_full_places()
        if claim := search.next(without=hand.owners):
            claims.append(claim)
    return claims


class _Search:
    """One look at what there is to claim; it remembers what it took and what it could not have."""

    def __init__(self, engine: Engine, candidates: Candidates, hand: Hand) -> None:
        self.engine = engine
        self.candidates = candidates
        self.uses = set(hand.things)
        self.left_out = LeftOut(set(hand.full_batches), set(hand.down), hand.full_places)
        self.full_owners = set(hand.full_owners)
        self.room = defaultdict(lambda: LINES_OF_UNKNOWN, hand.room)
        self.taken: Counter[str] = Counter()  # lines, by batch
        self.load = lines_in_hand(candidates.now)
        self.first = candidates.owners(self.left_out)

    def look_at_full_places(self) -> None:
        self.left_out.places = frozenset()
        self.first = self.candidates.owners(self.left_out)

    def next(self, without: frozenset[Owner] = frozenset()) -> Claim | None:
        while (owner := self._owner(without)) is not None:
            batch = self.candidates.first_batch(owner, self.left_out)
            if batch is None:  # nothing of what it had is left
                del self.first[owner]
                continue
            if rank_of(batch) > self.first[owner]:  # nor of the batch that came before this one
                self.first[owner] = rank_of(batch)
                continue
            slots = self._admit(batch)
            if slots is None:
                continue
            shard = self._claim_one(batch)
            if shard is None:  # others were quicker; this batch has nothing left
                self.left_out.batches.add(batch.pk)
                continue
            self.load[owner] = self.load.get(owner, 0) + shard.lines
            self._take(batch, shard.lines)
            return Claim(shard, batch, slots)
        return None

    def _take(self, batch: Batch, lines: int) -> None:
        """Leave out, for the rest of this look, a batch or a place that can use no more: another one's turn."""
        self.taken[batch.pk] += lines
        if self.taken[batch.pk] >= batch.max_concurrency:
            self.left_out.batches.add(batch.pk)
        assert batch.upstream_id is not None  # or it were no candidate
        place = (batch.upstream_id, batch.model or "")
        self.room[place] -= lines
        if self.room[place] <= 0:
            self.left_out.places |= {place}

    def _owner(self, without: frozenset[Owner]) -> Owner | None:
        owners = [
            (priority, self.load.get(owner, 0), due, owner)
            for owner, (priority, due) in self.first.items()
            if owner not in without and owner not in self.full_owners
        ]
        return min(owners, key=lambda item: item[:3])[3] if owners else None

    def _admit(self, batch: Batch) -> dict[Thing, int] | None:
        """The slots this engine gets; None when the batch or its upstream has none left for it."""
        granted: dict[Thing, int] = {}
        things: list[Thing] = [("batch", batch.pk), ("upstream", batch.upstream_id)]
        for thing in things:
            if thing in self.uses:
                continue
            now = self.candidates.now
            slots = shares.admit(self.engine, thing, settings.ENGINE_CONCURRENCY, now)
            if slots == 0:
                self._leave_out(thing)
                return None
            if slots is not None:
                granted[thing] = slots
            self.uses.add(thing)
        return granted

    def _leave_out(self, thing: Thing) -> None:
        kind, key = thing
        left_out: set[Any] = self.left_out.batches if kind == "batch" else self.left_out.upstreams
        left_out.add(key)

    def _claim_one(self, batch: Batch) -> Shard | None:
        for shard in self.candidates.shards(batch):
            if shard.claim(self.engine, settings.BATCH_LEASE_SECONDS, self.candidates.now):
                return shard
        return None
