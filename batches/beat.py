"""The heartbeat of an engine: keeps its leases, learns what has become of its batches, settles its shares.

It has a thread and a connection of its own, so that neither a slow disk nor a busy loop costs the lease.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from django.conf import settings
from django.db import Error, close_old_connections, connection

from api.clock import database_now
from batches import paces, shares
from batches.claims import Hand
from batches.executor.engine import Engine as Pump
from batches.executor.outage import Health
from batches.models import Batch, Engine, Shard, Upstream
from batches.paces import Place
from batches.shares import Thing, Use

logger = logging.getLogger(__name__)

BEAT_SECONDS = 2.0  # and so the longest a cancel goes unnoticed
BEATS_A_LEASE = 5  # at least
PACE_SECONDS = 5.0  # between two times that the paces are written, at least
UP_SECONDS = 10.0  # between two times that an upstream is noted to answer, at least
LEASE_MARGIN = 0.2  # of the lease: no call starts that late in it


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """What the event loop has in hand at one moment."""

    shards: Mapping[int, int]  # id -> epoch
    uses: Mapping[Thing, Use]
    paces: Mapping[Place, int]
    health: Mapping[int, Health]
    in_flight: int
    stopping: bool


@dataclasses.dataclass(frozen=True, slots=True)
class News:
    """What the database says of it."""

    proven_until: float
    seen: Mapping[int, int]  # the shards that were asked about
    mine: Mapping[int, int]  # the shards that are ours
    ending: frozenset[str]  # batches that must not start another call
    granted: Mapping[Thing, int]


class Heartbeat(threading.Thread):
    """Beats until stopped. All its dealings with the pump happen in the loop's thread."""

    def __init__(self, engine: Engine, pump: Pump, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._engine = engine
        self._pump = pump
        self._loop = loop
        self._over = threading.Event()
        self._failing = False
        self.lock = threading.Lock()  # held while shards are claimed: no beat in between
        self.shards: dict[int, int] = {}  # the shards in hand: id -> epoch
        self._state = State({}, {}, {}, {}, 0, stopping=False)
        self._health: dict[int, Health] = {}  # of upstreams, as written
        self._paces: Mapping[Place, int] = {}  # as written
        self._paces_at = -math.inf
        self._promised: Mapping[Thing, int] = {}  # slots that a claim under way counts on
        pump.proven_until = time.monotonic() + _provable()

    # In the loop's thread

    def hold(self, shard: Shard, granted: Mapping[Thing, int]) -> None:
        """A claimed shard goes to the pump, and with it the limits it came with."""
        self.shards[shard.pk] = shard.epoch
        for thing, slots in granted.items():
            self._pump.limits[thing] = slots

    def claim_ended(self) -> None:
        """Look again, once the pump has taken the claimed shards in."""
        self._loop.call_soon(self._forget_promises)

    def _forget_promises(self) -> None:
        self._promised = {}
        self.look()

    def hand(self, owners: frozenset[Any]) -> Hand:
        """What is in hand, for the next claim: more lines of a full batch or owner would only pile up."""
        of_batch: Counter[str] = Counter()
        of_owner: Counter[Any] = Counter()
        room = self._pump.room
        full_places = frozenset(place for place, lines in room.items() if lines <= 0)
        for work in self._pump.held:
            of_batch[work.batch] += work.unstarted
            if work.target.place not in full_places:
                of_owner[work.owner] += work.unstarted
        most = settings.ENGINE_CONCURRENCY
        limits = self._pump.limits
        self._promised = cast("dict[Thing, int]", dict(limits))
        return Hand(
            owners=owners,
            full_owners=frozenset(owner for owner, lines in of_owner.items() if lines >= most),
            full_batches=frozenset(
                batch
                for batch, lines in of_batch.items()
                if lines and lines >= limits.get(("batch", batch), most)
            ),
            room=room,
            down=frozenset(work.target.key for work in self._pump.held) & self._pump.down,
            things=cast("frozenset[Thing]", frozenset(limits)),
            is_empty=not self._pump.held,
            is_alone=any(work.alone for work in self._pump.held),
        )

    def let_go(self, shard_id: int) -> None:
        self.shards.pop(shard_id, None)

    def look(self) -> None:
        """Note what is in hand, for the next beat."""
        uses = self._uses()
        for thing in set(self._pump.limits) - set(uses) - set(self._promised):
            del self._pump.limits[thing]
        # An upstream that is in use cannot be deleted.
        places = {work.target.place for work in self._pump.held}
        self._state = State(
            dict(self.shards),
            uses,
            {place: limit for place, limit in self._pump.learnt.items() if place in places},
            self._pump.health,
            self._pump.in_flight,
            self._over.is_set(),
        )

    def _uses(self) -> dict[Thing, Use]:
        wanted: dict[Thing, int] = {}
        held: dict[Thing, int] = {}
        for work in self._pump.held:
            things: list[Thing] = [("batch", work.batch), ("upstream", work.target.key)]
            for thing in things:
                calls = len(work.calls)
                wanted[thing] = wanted.get(thing, 0) + calls + work.unstarted
                held[thing] = held.get(thing, 0) + calls
        most = settings.ENGINE_CONCURRENCY
        return {
            thing: Use(min(wanted[thing], most), max(held[thing], self._pump.limits.get(thing, 0)))
            for thing in wanted
        }

    def _hear(self, news: News) -> None:
        self._pump.proven_until = max(self._pump.proven_until, news.proven_until)
        for thing, slots in news.granted.items():
            if thing in self._pump.limits:
                self._pump.limits[thing] = slots
        for key, epoch in news.seen.items():
            if self.shards.get(key) == epoch and news.mine.get(key) != epoch:
                logger.warning("Shard %s has another owner now; its calls are dropped.", key)
                self._pump.drop(key)
                self.let_go(key)
        for batch in news.ending:
            self._pump.end_batch(batch, settings.BATCH_CANCEL_GRACE_SECONDS)
        self.look()

    # In the database thread, while it has the lock

    def promise(self, granted: Mapping[Thing, int]) -> None:
        """Keep these shares until the claimed shards, which nobody has seen yet, are in the pump."""
        self._promised = {**self._promised, **granted}

    # In its own thread

    def run(self) -> None:
        pause = min(BEAT_SECONDS, settings.BATCH_LEASE_SECONDS / BEATS_A_LEASE)
        while not self._over.wait(pause):
            try:
                close_old_connections()
                with self.lock:
                    news = self._beat()
                self._failing = False
            except Error as error:
                if not self._failing:
                    logger.warning("The heartbeat cannot reach the database: %s", error)
                self._failing = True
                connection.close()
                continue
            if not self._over.is_set():
                self._loop.call_soon_threadsafe(self._hear, news)
        with contextlib.suppress(Error):  # the next turn will find out
            self._keep_health(self._state.health)
        connection.close()

    def stop(self) -> None:
        """Beat no more; returns when the thread has ended."""
        self._over.set()
        self.look()
        self.join()

    def _beat(self) -> News:
        started = time.monotonic()
        state = self._state
        now = database_now()
        lease = now + datetime.timedelta(seconds=settings.BATCH_LEASE_SECONDS)
        Engine.objects.filter(pk=self._engine.pk).update(
            lease_expires_at=lease, in_flight=state.in_flight, stopping=state.stopping
        )
        self._keep_paces(state.paces, now)
        self._keep_health(state.health)
        promised = {thing: Use(slots, slots) for thing, slots in self._promised.items()}
        held = Shard.objects.held_by(self._engine.pk)
        held.update(lease_expires_at=lease)  # also those of a claim that are not in hand yet
        rows = list(held.values_list("pk", "epoch", "batch_id")) if state.shards else []
        return News(
            proven_until=started + _provable(),
            seen=state.shards,
            mine={key: epoch for key, epoch, _ in rows},
            ending=_ending({batch for _, _, batch in rows}, now),
            granted=shares.settle(self._engine, {**promised, **state.uses}, now),
        )

    def _keep_paces(self, found: Mapping[Place, int], now: datetime.datetime) -> None:
        if found != self._paces and time.monotonic() >= self._paces_at + PACE_SECONDS:
            paces.keep(found, now)
            self._paces, self._paces_at = found, time.monotonic()

    def _keep_health(self, found: Mapping[int, Health]) -> None:
        for key, health in found.items():
            known = self._health.get(key)
            if health.down and (known is None or health.down != known.down):
                Upstream.note_down(key, health.down)
            elif not health.down and (
                # Told again and again, for another engine may have found it down and ended.
                known is None or known.down or health.answered_at > known.answered_at + UP_SECONDS
            ):
                Upstream.note_up(key)
            else:
                continue
            self._health[key] = health


def _provable() -> float:
    return float(settings.BATCH_LEASE_SECONDS) * (1 - LEASE_MARGIN)


def _ending(batches: set[str], now: Any) -> frozenset[str]:
    """Those batches that are cancelled, past their window, or whose upstream is paused."""
    going_on = Batch.objects.running(now).filter(pk__in=batches, upstream__paused_at__isnull=True)
    return (
        frozenset(batches - set(going_on.values_list("pk", flat=True))) if batches else frozenset()
    )
