"""The dispatch loop: keeps the calls going that may go, and hands every result to the source."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Coroutine, Hashable, ValuesView
from typing import Any

from batches.executor.caller import Caller
from batches.executor.outage import Health
from batches.executor.pool import Pool
from batches.executor.recorder import Recorder, Settled
from batches.executor.retry import Action, doubling
from batches.executor.spool import Spool
from batches.executor.transport import Transport
from batches.executor.work import Line, Options, Source, Target, Work

__all__ = ["Engine", "Options", "Source", "Target", "Work"]

logger = logging.getLogger(__name__)


class Engine:
    """One turn: claims works, calls their lines, records the results, hands back what it does not finish.

    Every method is called in the thread of the loop that `run` runs in.

    limits: calls in flight allowed here, by ("batch", id) or ("upstream", key); what is absent has no limit.
    proven_until: by the clock, when the lease ends that the owner can prove; no call begins after it.
    spool: keeps answers that are not recorded yet, for those who take over should this process be killed.
    """

    def __init__(
        self,
        source: Source,
        transport: Transport,
        options: Options,
        *,
        spool: Spool | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.limits: dict[tuple[str, Hashable], int] = {}
        self.proven_until = math.inf
        self._source = source
        self._options = options
        self._clock = clock
        self._pool = Pool(options, self.limits)
        self._changed = asyncio.Event()
        self._recorder = Recorder(source, options, clock, self._changed.set, spool)
        self._caller = Caller(
            transport,
            self._pool,
            self._recorder,
            options,
            clock,
            rng or random.Random(),  # noqa: S311 - jitter, no secret
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._pauses: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._stopping = False
        self._give_up_at = math.inf  # on recording, having been told to stop
        self._busy_at = 0.0
        self._bursting = False  # enough calls have begun for now

        self._claiming = False
        self._claim_at = -math.inf  # not before
        self._claim_by = -math.inf  # even when there is enough to do
        self._claim_failures = 0
        self._ended: set[str] = set()  # batches that ended while a claim was under way

    # What the owner sees and does

    @property
    def in_flight(self) -> int:
        return self._pool.in_flight

    @property
    def held(self) -> ValuesView[Work]:
        return self._pool.works.values()

    @property
    def down(self) -> frozenset[int]:
        """Keys of the upstreams that count as down; more work for them would only wait here."""
        return self._pool.down()

    @property
    def health(self) -> dict[int, Health]:
        """How the upstreams are that were called from here."""
        return self._pool.health()

    @property
    def room(self) -> dict[tuple[int, str], int]:
        """Lines that each upstream and model can use beside those here; more would be kept from other engines."""
        return self._pool.line_room()

    @property
    def learnt(self) -> dict[tuple[int, str], int]:
        """Calls in flight that each upstream and model bears from here, as far as is known."""
        paces = self._pool.paces.items()
        return {place: pace.learnt for place, pace in paces if pace.learnt is not None}

    def stop(self, grace: float) -> None:
        """Begin no claim and no call; abort calls in flight after `grace` seconds; record, release, return.

        What the source cannot take by then, and a few seconds more, is given up: somebody else calls it again.
        """
        self._stopping = True
        patience = grace + self._options.give_up_seconds
        self._give_up_at = min(self._give_up_at, self._clock() + patience)
        self._end(list(self.held), grace)

    def end_batch(self, batch: str, grace: float) -> None:
        """Begin no call of this batch; abort its calls after `grace` seconds; record and release its works."""
        if self._claiming:
            self._ended.add(batch)
        self._end([work for work in self.held if work.batch == batch], grace)

    def drop(self, key: int) -> None:
        """Forget a work that is no longer ours: abort its calls, record nothing, release nothing."""
        work = self._pool.works.get(key)
        if work is not None:
            self._drop(work)

    async def run(self) -> None:
        """Return when stopped and empty, or when there was no work for `idle_seconds`.

        Cancelling it aborts every call at once, but still records what was answered and releases the rest.

        Raises:
            Exception: a bug of the engine itself; it has tried to record and release before.
        """
        self._busy_at = self._clock()
        ticks = asyncio.create_task(self._tick())
        try:
            while True:
                self._turn(self._clock())
                if self._is_over():
                    return
                await self._changed.wait()
                self._changed.clear()
        finally:
            ticks.cancel()
            await asyncio.shield(self._close())

    async def _tick(self) -> None:
        """Have everything looked at again and again: time passes without telling."""
        while True:
            await asyncio.sleep(self._options.tick_seconds)
            self._changed.set()

    # The loop

    def _turn(self, now: float) -> None:
        if self._error is not None:
            raise self._error
        self._end_overdue(now)
        self._pool.wake(now)
        self._recorder.tidy_spool(self.held)
        self._start_calls(now)
        self._settle_due(now)
        self._claim_if_due(now)

    def _is_over(self) -> bool:
        now = self._clock()
        if self.held:
            self._busy_at = now
        if now >= self._give_up_at:
            return True
        if self.held or self._claiming:
            return False
        return self._stopping or now - self._busy_at >= self._options.idle_seconds

    async def _close(self) -> None:
        """Leave no call running and no result unrecorded, as far as one more try can do it."""
        try:
            self.stop(0)
            await asyncio.sleep(0)  # so that every task has begun
            for task in self._pauses | {task for work in self.held for task in work.calls}:
                task.cancel()
            while self._tasks:
                await asyncio.wait(self._tasks)
            for work in list(self.held):
                await self._settle(work)
        finally:
            self._recorder.close()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it beside the loop, and end the loop with its exception should it raise one."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()
        if not task.cancelled() and self._error is None:
            self._error = task.exception()

    # Calls

    def _is_blocked(self, now: float) -> bool:
        return self._stopping or now >= self.proven_until or self._recorder.is_full()

    def _next(self, now: float) -> tuple[Work, Line] | None:
        if self._is_blocked(now):
            return None
        self._recorder.keep_safe(self._pool.in_flight)
        return self._pool.next(now)

    def _start_calls(self, now: float) -> None:
        """Begin calls beside those that go on, a few at a time: what begins together comes back together, and its slots
        are empty until the last of it has been seen to."""
        if self._bursting:
            return
        for _ in range(self._options.burst):
            found = self._next(now)
            if found is None:
                return
            task = self._spawn(self._call_on(*found))
            found[0].calls.add(task)
        self._bursting = True
        asyncio.get_running_loop().call_later(self._options.burst_seconds, self._end_burst)

    def _end_burst(self) -> None:
        self._bursting = False
        self._changed.set()

    async def _call_on(self, work: Work, line: Line) -> None:
        """Call this line, then whatever line is next, until there is none: a slot that is freed is taken at once."""
        task = asyncio.current_task()
        assert task is not None
        found: tuple[Work, Line] | None = (work, line)
        while found is not None:
            work, line = found
            work.calls.add(task)
            try:
                if work.one_by_one and not await self._may_call(work):
                    self._pool.put_back(work, line)
                    decision = None
                else:
                    decision = await self._caller.call(work, line)
                if work.one_by_one and not (work.results or work.gone):  # a record tells it, too
                    await self._tell(work, begun=False)
                if decision is not None and decision.action is Action.PAUSE:
                    self._pause(work.target, decision.reason)
            except asyncio.CancelledError:
                task.uncancel()  # the call was aborted, not what comes after it
            finally:
                limit, now = work.pace.limit, self._clock()
                work.calls.discard(task)
                self._pool.ended(work, line, now)
            found = self._next(now)
            claims = self._pool.runs_low(work.pace) and not self._claiming and now >= self._claim_at
            if claims or work.pace.limit > limit:
                self._changed.set()  # there is room for more, or more must be claimed

    async def _may_call(self, work: Work) -> bool:
        """Tell that a line of a work that runs one by one is now being called, unless it must not be any more."""
        if not await self._tell(work, begun=True):
            self._drop(work)
        now = self._clock()
        is_over = work.gone or work.ending or now >= work.deadline
        return not is_over and not self._is_blocked(now)

    async def _tell(self, work: Work, *, begun: bool) -> bool:
        """Return False if the work is known to be no longer ours."""
        try:
            return await self._source.calling(work, begun=begun)
        except Exception:  # it is called all the same: a death would only tell less
            logger.warning("It is not known that %s is being called.", work.key, exc_info=True)
            return True

    def _pause(self, target: Target, reason: str) -> None:
        if target.key not in self._pool.paused:
            self._pool.paused.add(target.key)
            task = self._spawn(self._pause_upstream(target, reason))
            self._pauses.add(task)
            task.add_done_callback(self._pauses.discard)

    async def _pause_upstream(self, target: Target, reason: str) -> None:
        """Hand its works back only when everybody knows of the pause, or they would come straight back."""
        failures = 0
        while True:
            try:
                await self._source.pause(target, reason)
                break
            except Exception:  # whatever the database raises, it is tried again
                failures += 1
                logger.warning("Upstream %s is not paused yet.", target.key, exc_info=True)
                await asyncio.sleep(self._source_delay(failures))
        works = [work for work in self.held if work.target.key == target.key]
        self._end(works, self._options.grace_seconds)
        self._pool.paused.discard(target.key)

    # Ends of works

    def _end(self, works: list[Work], grace: float) -> None:
        for work in works:
            work.ends_at = min(work.ends_at, self._clock() + grace)
        self._changed.set()

    def _end_overdue(self, now: float) -> None:
        for work in self.held:
            if now >= work.deadline and not work.ending:
                work.ends_at = now + self._options.grace_seconds
            if now >= work.ends_at:
                self._abort_calls(work)

    def _abort_calls(self, work: Work) -> None:
        # A task that is cancelled before it has begun never runs, and would not tell that its call is over.
        if work.calls:
            asyncio.get_running_loop().call_soon(self._cancel_calls, work)

    def _cancel_calls(self, work: Work) -> None:
        for task in work.calls:
            if not task.cancelling():
                task.cancel()

    def _settle_due(self, now: float) -> None:
        for work in self._recorder.due(self.held, now):
            work.settling = True
            self._spawn(self._settle(work))

    async def _settle(self, work: Work) -> None:
        settled = await self._recorder.settle(work)
        work.settling = False
        if settled is Settled.DONE:
            self._pool.remove(work)
        elif settled is Settled.FENCED:
            logger.info("Shard %s of %s is no longer held here.", work.key, work.batch)
            self._drop(work)

    def _drop(self, work: Work) -> None:
        self._pool.remove(work)
        self._recorder.drop(work)
        self._abort_calls(work)

    # Claims

    def _claim_if_due(self, now: float) -> None:
        if self._claiming or now < self._claim_at or self._is_blocked(now):
            return
        if self._pool.held_bytes() > self._options.max_held_bytes:
            return
        wanted = self._pool.wanted(now)
        if now >= self._claim_by:
            # Slots that the paces of the works in hand leave free may serve another upstream.
            wanted = max(wanted, self._options.concurrency - self.in_flight)
        elif not wanted:
            return
        self._claiming = True
        self._spawn(self._claim(wanted))

    async def _claim(self, wanted: int) -> None:
        try:
            works = await self._source.claim(wanted, self._pool.owners())
        except Exception:  # whatever the database raises, it is tried again
            logger.warning("No work could be claimed.", exc_info=True)
            self._claim_failures += 1
            delay = self._source_delay(self._claim_failures)
        else:
            self._claim_failures = 0
            # Work that cannot start yet is no reason to ask for more of it at once.
            delay = 0 if self._admit(works) else self._options.poll_seconds
        now = self._clock()
        self._claim_at = now + delay
        self._claim_by = now + self._options.claim_seconds
        self._claiming = False

    def _admit(self, works: list[Work]) -> bool:
        """Hold the works; return whether more lines can start than before."""
        now = self._clock()
        before = self._pool.startable(now).total()
        for work in works:
            self.drop(work.key)  # claimed anew, so the lease it was held by had lapsed
            self._pool.add(work)
            if self._stopping or work.batch in self._ended:
                work.ends_at = now
        self._ended.clear()
        return self._pool.startable(now).total() > before

    def _source_delay(self, failures: int) -> float:
        options = self._options
        return doubling(
            failures, options.source_backoff_seconds, options.max_source_backoff_seconds
        )
