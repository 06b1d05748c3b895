"""Step: run lines. The one place where asyncio and the ORM meet: an engine takes a turn at the pump.

The event loop runs the executor. Claims and commits run in one database thread, in order. Heartbeats have a
thread and a connection of their own, so that neither a slow disk nor a busy loop costs the lease.
"""

import asyncio
import dataclasses
import datetime
import logging
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import uvloop
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection

from api.clock import database_now
from batches import claims, hints, journal, paces
from batches.beat import Heartbeat
from batches.claims import Claim, Hand
from batches.executor.engine import Engine as Pump
from batches.executor.lines import Code, Request, Result
from batches.executor.work import HEADERS, Options, Target, Work
from batches.models import Batch, Engine, Shard, Upstream
from batches.models.shard import ALONE_AFTER, GIVEN_UP_AFTER, ONE_BY_ONE_AFTER
from batches.paces import Place
from batches.salvage import left_behind, salvage, spool_of
from batches.shares import Thing
from batches.transports import make_transport
from files.storage import Missing

logger = logging.getLogger(__name__)
T = TypeVar("T")

DRAIN_POLL_SECONDS = 0.2
UNREADABLE_SECONDS = 30.0  # before a batch is tried again whose files could not be read


def run_turn(draining: Callable[[], bool]) -> None:
    """Run lines of whatever is due for BATCH_TURN_SECONDS, or until there is nothing, or `draining()` says so.

    Safe to run at any time, in any number: each turn is an engine of its own, and shards have one owner.
    """
    now = database_now()
    engine = Engine.objects.create(
        id=secrets.token_hex(16),
        host=socket.gethostname()[:255],
        pid=os.getpid(),
        started_at=now,
        lease_expires_at=now + datetime.timedelta(seconds=settings.BATCH_LEASE_SECONDS),
    )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(engine, draining))
    except asyncio.CancelledError as error:
        raise RuntimeError("The turn was cut off by the queue's time limit.") from error
    finally:
        _let_go(engine)


def _let_go(engine: Engine) -> None:
    """Hand back whatever the turn still holds, so that nobody has to wait for its lease."""
    Shard.objects.give_up(engine.pk)
    Engine.objects.filter(pk=engine.pk).delete()


async def _run(engine: Engine, draining: Callable[[], bool]) -> None:
    options = Options(
        concurrency=settings.ENGINE_CONCURRENCY,
        max_attempts=settings.BATCH_MAX_ATTEMPTS,
        grace_seconds=settings.BATCH_CANCEL_GRACE_SECONDS,
        max_answer_bytes=settings.BATCH_MAX_ANSWER_BYTES,
    )
    transport = make_transport()
    with ThreadPoolExecutor(1, "database") as thread:
        desk = Desk(engine, thread)
        pump = Pump(desk, transport, options, spool=spool_of(engine))
        heartbeat = Heartbeat(engine, pump, asyncio.get_running_loop())
        heartbeat.start()
        desk.heartbeat = heartbeat
        watch = asyncio.create_task(_watch(pump, draining))
        try:
            await pump.run()
        finally:
            watch.cancel()
            heartbeat.stop()
            await transport.close()
            await desk.close()


async def _watch(pump: Pump, draining: Callable[[], bool]) -> None:
    """Stop the pump when the turn is over, and sooner when the worker drains."""
    turn_ends = time.monotonic() + settings.BATCH_TURN_SECONDS
    stopping = False
    while not draining():
        if time.monotonic() >= turn_ends and not stopping:
            # Calls in flight are paid for, so they may end; each has a deadline of its own.
            stopping = True
            pump.stop(settings.UPSTREAM_TIMEOUT_SECONDS)
        await asyncio.sleep(DRAIN_POLL_SECONDS)
    pump.stop(settings.BATCH_DRAIN_SECONDS)


@dataclasses.dataclass(slots=True)
class Held:
    """What the database side knows of a work: the shard as it was claimed."""

    shard: Shard
    attempt: int
    granted: dict[Thing, int]
    doubtful: bool = False  # a commit failed without our knowing whether it took place


class Desk:
    """The executor's `Source`: gives it claimed shards and commits what it found out."""

    def __init__(self, engine: Engine, thread: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._thread = thread
        self._held: dict[int, Held] = {}
        self._learnt: dict[Place, float | None] = {}  # of the upstreams met in this turn
        self._is_claiming = False  # or a claim broke off
        self._unreadable: dict[str, float] = {}  # batches, and until when they are left alone
        self.heartbeat: Heartbeat

    async def claim(self, wanted: int, holding: frozenset[Any]) -> list[Work]:
        hand = self.heartbeat.hand(holding)
        try:
            taken = await self._in_thread(lambda: self._claim(wanted, hand))
            for held, _ in taken:
                self._held[held.shard.pk] = held
                self.heartbeat.hold(held.shard, held.granted)
            return [work for _, work in taken]
        finally:
            self.heartbeat.claim_ended()

    async def record(self, work: Work, results: list[Result], finished: bool) -> bool:
        held = self._held[work.key]
        mine = await self._in_thread(lambda: _record(held, results, finished))
        if finished or not mine:
            self._forget(held)
        return mine

    async def release(self, work: Work) -> None:
        held = self._held[work.key]
        await self._in_thread(lambda: _release(held.shard))
        self._forget(held)

    async def calling(self, work: Work, *, begun: bool) -> bool:
        shard = self._held[work.key].shard
        rows = Shard.objects.held_by(self._engine.pk).filter(pk=shard.pk, epoch=shard.epoch)
        return bool(await self._in_thread(lambda: rows.update(calling=begun)))

    async def pause(self, target: Target, reason: str) -> None:
        await self._in_thread(lambda: _pause(target, reason))

    async def close(self) -> None:
        """Close the thread's connection, which only that thread may do."""
        await self._in_thread(lambda: connection.close())  # looked up there: it is per thread

    def _forget(self, held: Held) -> None:
        key = held.shard.pk
        if self._held.get(key) is held:  # or it was claimed anew meanwhile
            del self._held[key]
            self.heartbeat.let_go(key)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def run() -> T:
            close_old_connections()
            return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    # In the database thread

    def _claim(self, wanted: int, hand: Hand) -> list[tuple[Held, Work]]:
        with self.heartbeat.lock:
            self._release_unknown()
            self._is_claiming = True  # until its end nobody knows what it has claimed
            found = claims.claim_shards(self._engine, wanted, self._without_unreadable(hand))
            for claim in found:
                self.heartbeat.promise(claim.slots)
        left = left_behind((claim.shard, claim.batch.attempt) for claim in found)
        taken = []
        for claim in found:
            try:
                work = _load(claim, self._target(claim.batch), left.pop(claim.shard.pk, ()))
            except DatabaseError:
                raise
            except Exception:  # of this shard's files; others must not wait for it
                logger.exception("Shard %s cannot be begun.", claim.shard)
                self._unreadable[claim.batch.pk] = time.monotonic() + UNREADABLE_SECONDS
                _release(claim.shard)
                continue
            if work:
                taken.append((Held(claim.shard, claim.batch.attempt, claim.slots), work))
        self._is_claiming = False
        return taken

    def _release_unknown(self) -> None:
        """Hand back what a claim has taken that broke off: the heartbeat would keep it for ever, and nobody would run it."""
        if self._is_claiming:
            rows = Shard.objects.held_by(self._engine.pk).exclude(pk__in=list(self._held))
            if count := rows.hand_back():
                logger.warning("%d shards of a claim that broke off are handed back.", count)
            self._is_claiming = False

    def _without_unreadable(self, hand: Hand) -> Hand:
        now = time.monotonic()
        self._unreadable = {
            batch: until for batch, until in self._unreadable.items() if until > now
        }
        full = hand.full_batches | self._unreadable.keys()
        return dataclasses.replace(hand, full_batches=full)

    def _target(self, batch: Batch) -> Target:
        upstream = batch.upstream
        assert upstream is not None
        place = (upstream.pk, batch.model or "")
        if place not in self._learnt:
            self._learnt[place] = paces.portion(place, database_now())
        return Target(
            upstream.pk,
            upstream.url(batch.endpoint),
            upstream.headers,
            upstream.timeout_seconds,
            batch.model or "",
            self._learnt[place],
        )


def _pause(target: Target, reason: str) -> None:
    """Pause an upstream that has refused a call, unless its key or address are others by now."""
    upstream = Upstream.objects.get(pk=target.key)
    was_called = target.headers == {**upstream.headers, **HEADERS} and target.url.startswith(
        upstream.url("/v1/")
    )
    if was_called and upstream.pause(reason):
        logger.error("Upstream %s is paused: %s", upstream, reason)


def _load(claim: Claim, target: Target, left: Sequence[Result]) -> Work | None:
    """The work of a shard; None when there is nothing to call, and the shard is finished already.

    left: what its last owners may have had answers for.
    """
    shard, batch = claim.shard, claim.batch
    lost: list[Request] = []
    try:
        requests = journal.unanswered(shard, batch.input_file_id)
    except Missing as missing:
        logger.error("%s", missing)
        requests, lost = [], journal.lost_requests(shard)
    if not requests:
        results, lost = salvage(left, lost)
        results += [journal.closed(request, Code.INPUT_FILE_MISSING) for request in lost]
        journal.finish(shard, batch.attempt, results, advance=True)
        return None
    requests = _take_over(shard, batch.attempt, requests, left)
    if not requests:
        return None
    if shard.deaths >= GIVEN_UP_AFTER and not _give_up_first(shard, batch.attempt, requests):
        return None
    remaining = (batch.expires_at - database_now()).total_seconds()
    return Work(
        key=shard.pk,
        batch=batch.pk,
        owner=(batch.account_id, batch.external_user_id),
        deadline=time.monotonic() + remaining,
        target=target,
        requests=deque(requests),
        attempt=batch.attempt,
        priority=batch.priority,
        alone=shard.deaths >= ALONE_AFTER,
        one_by_one=shard.deaths >= ONE_BY_ONE_AFTER,
    )


def _take_over(
    shard: Shard, attempt: int, requests: list[Request], left: Sequence[Result]
) -> list[Request]:
    """Record the answers that the last owners had when they died; return the requests that are still open.

    None, if the shard is finished by that, or somebody else's by now.
    """
    results, still_open = salvage(left, requests)
    if not results:
        return still_open
    logger.info("%d answers of %s outlived their engine.", len(results), shard)
    if not still_open:
        journal.finish(shard, attempt, results, advance=True)
        return []
    lease = settings.BATCH_LEASE_SECONDS
    mine = journal.record(shard, attempt, results, lease, of_the_dead=True)
    return still_open if mine else []


def _give_up_first(shard: Shard, attempt: int, requests: list[Request]) -> bool:
    """Record the first request as the one its workers died of; False when nothing is left to do with the shard.

    The lines of such a shard run one at a time and in order, so that the first open one was the one in flight.
    """
    culprit = requests.pop(0)
    logger.error("Line %s of %s is given up: three workers died of it.", culprit.line, shard)
    result = journal.closed(culprit, Code.WORKER_CRASH)
    if requests:
        return journal.record(shard, attempt, [result], settings.BATCH_LEASE_SECONDS)
    journal.finish(shard, attempt, [result], advance=True)
    return False


def _record(held: Held, results: list[Result], finished: bool) -> bool:
    shard, attempt = held.shard, held.attempt
    if held.doubtful:
        # The last commit may have taken place although its answer was lost.
        done = journal.answered(shard)
        results = [result for result in results if result.entry.index not in done]
    held.doubtful = True
    if finished:
        mine = journal.finish(shard, attempt, results, advance=True)
    else:
        mine = journal.record(shard, attempt, results, settings.BATCH_LEASE_SECONDS)
    held.doubtful = False
    return mine


def _release(shard: Shard) -> None:
    """Hand a shard back at once, and wake whoever may be waiting to end its batch."""
    rows = Shard.objects.filter(pk=shard.pk, epoch=shard.epoch, state=Shard.State.RUNNING)
    rows.hand_back()
    if not Batch.objects.running(database_now()).filter(pk=shard.batch_id).exists():
        hints.ring("finalize_batch", shard.batch_id)
