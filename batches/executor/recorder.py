"""Results on their way to the source: gathered, recorded, and kept in memory while that fails."""

import logging
import math
from collections.abc import Callable, Iterable
from enum import Enum, auto

from batches.executor.lines import Result
from batches.executor.retry import doubling
from batches.executor.work import Options, Source, Work

logger = logging.getLogger(__name__)


class Settled(Enum):
    HELD = auto()  # there is more to come, or the source failed
    DONE = auto()  # finished or handed back
    FENCED = auto()  # no longer ours


class Recorder:
    """Every result is recorded, or recorded again, until the source has taken it or has refused the work."""

    def __init__(
        self,
        source: Source,
        options: Options,
        clock: Callable[[], float],
        is_due: Callable[[], None],
    ) -> None:
        """is_due: called when results should be recorded before time brings it about."""
        self.unrecorded = 0
        self.unrecorded_bytes = 0
        self._recording = 0  # of the unrecorded ones, those the source has been given
        self._recorded_at = -math.inf  # when the source was given some
        self._many = options.flush_results  # fresh ones, as of the last look, and it is due
        self._source = source
        self._options = options
        self._clock = clock
        self._is_due = is_due

    def add(self, work: Work, result: Result) -> None:
        if not work.results:
            work.flush_at = self._clock() + self._options.flush_seconds
        work.results.append(result)
        size = len(result.line)
        work.result_bytes += size
        self.unrecorded += 1
        self.unrecorded_bytes += size
        if (
            self.unrecorded - self._recording >= self._many
            or work.result_bytes >= self._options.flush_bytes
            or not work.left
            or work.one_by_one
        ):
            self._is_due()

    def forget(self, work: Work, count: int | None = None) -> None:
        """Drop the first `count` results, or all."""
        forgotten = work.results[:count]
        del work.results[:count]
        self.unrecorded -= len(forgotten)
        size = sum(len(result.line) for result in forgotten)
        work.result_bytes -= size
        self.unrecorded_bytes -= size

    @property
    def is_full(self) -> bool:
        """No call should begin: a crash now would repeat as many answered calls as may be in flight, or fill the memory."""
        return (
            self.unrecorded >= self._options.concurrency
            or self.unrecorded_bytes > self._options.max_unrecorded_bytes
        )

    def due(self, works: Iterable[Work], now: float, in_flight: int) -> list[Work]:
        """Return those of the works whose results should be recorded now, or that should be handed back."""
        idle = [work for work in works if not work.settling and now >= work.settle_at]
        due = [work for work in idle if self._is_due_itself(work, now)]
        if not due and self._are_many(now, in_flight):
            # The fewest commits: of the works that share the calls, the one with the most results.
            due = sorted(filter(_has_results, idle), key=lambda work: len(work.results))[-1:]
        return due

    def _are_many(self, now: float, in_flight: int) -> bool:
        """A crash repeats these, too: they should be no more than the calls in flight, or than come in a moment."""
        fresh = self.unrecorded - self._recording
        self._many = max(self._options.flush_results, in_flight)
        rested = now >= self._recorded_at + self._options.flush_again_seconds
        return fresh >= (max(1, in_flight) if rested else self._many)

    def _is_due_itself(self, work: Work, now: float) -> bool:
        if work.left == 0 or (work.ending and not work.calls):
            return True
        return bool(work.results) and (
            work.one_by_one
            or self.is_full
            or now >= work.flush_at
            or work.result_bytes >= self._options.flush_bytes
        )

    async def settle(self, work: Work) -> Settled:
        """Record what waits, and hand the work back if nothing more comes of it here."""
        try:
            settled = await self._settle(work)
        except Exception:  # whatever the database or the disk raises, the results stay
            work.source_failures += 1
            delay = doubling(
                work.source_failures,
                self._options.source_backoff_seconds,
                self._options.max_source_backoff_seconds,
            )
            work.settle_at = self._clock() + delay
            logger.warning(
                "Results of shard %s of %s are not recorded yet.",
                work.key,
                work.batch,
                exc_info=True,
            )
            return Settled.HELD
        work.source_failures = 0
        return settled

    async def _settle(self, work: Work) -> Settled:
        if work.gone:  # since this was begun; another work may have its key by now
            return Settled.HELD
        results = work.results.copy()
        finished = work.left == 0
        if results or finished:
            self._recording += len(results)
            self._recorded_at = self._clock()
            try:
                mine = await self._source.record(work, results, finished)
            finally:
                self._recording -= len(results)
            if not mine:
                return Settled.FENCED
            if work.gone:
                return Settled.HELD
            self.forget(work, len(results))
            work.flush_at = self._clock() + self._options.flush_seconds
        if finished:
            return Settled.DONE
        # While it was recorded, more may have come.
        if work.ending and not work.calls and not work.results and work.left:
            await self._source.release(work)
            return Settled.DONE
        return Settled.HELD


def _has_results(work: Work) -> bool:
    return bool(work.results)
