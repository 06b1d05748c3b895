"""Results on their way to the source: gathered, recorded, and kept in memory while that fails."""

import logging
from collections.abc import Callable, Collection, Iterable
from enum import Enum, auto

from batches.executor.lines import Result
from batches.executor.retry import doubling
from batches.executor.spool import Spool
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
        spool: Spool | None = None,
    ) -> None:
        """is_due: called when results should be recorded before time brings it about."""
        self.unrecorded = 0
        self.unrecorded_bytes = 0
        self._source = source
        self._options = options
        self._most = options.max_unrecorded
        self._clock = clock
        self._is_due = is_due
        self._spool = spool

    def add(self, work: Work, result: Result) -> None:
        """Take a result."""
        if self._spool is not None:
            self._spool.add(work.key, work.attempt, result)
        if not work.results:
            work.waits_since = self._clock()
        work.results.append(result)
        size = len(result.line)
        work.result_bytes += size
        self.unrecorded += 1
        self.unrecorded_bytes += size
        if work.result_bytes >= self._options.flush_bytes or not work.left or work.one_by_one:
            self._is_due()

    def drop(self, work: Work) -> None:
        """Forget a work that is somebody else's by now, who may not have taken its results over yet."""
        if work.results and self._spool is not None:
            self._spool.outlives = True
        self._forget(work)

    def _forget(self, work: Work, count: int | None = None) -> None:
        """Drop the first `count` results, or all."""
        forgotten = work.results[:count]
        del work.results[:count]
        self.unrecorded -= len(forgotten)
        size = sum(len(result.line) for result in forgotten)
        work.result_bytes -= size
        self.unrecorded_bytes -= size

    def keep_safe(self, in_flight: int) -> None:
        """Let answers that a kill of this process would take, with the calls in flight, be fewer than may be in flight."""
        spool = self._spool
        if spool is not None and in_flight + len(spool.pending) >= self._options.concurrency:
            spool.flush()

    def tidy_spool(self, works: Collection[Work]) -> None:
        """Have a spool while there is work, and none that grows for ever."""
        if self._spool is not None and works and self._spool.is_due(self.unrecorded_bytes):
            self._spool.rewrite(
                (work.key, work.attempt, result) for work in works for result in work.results
            )

    def close(self) -> None:
        """Leave no spool behind, but for what the source never took."""
        if self._spool is not None:
            self._spool.outlives |= self.unrecorded > 0
            self._spool.close()

    def is_full(self) -> bool:
        """No call should begin: a power cut now would repeat too many answered calls, or the memory fill."""
        return (
            self.unrecorded >= self._most
            or self.unrecorded_bytes > self._options.max_unrecorded_bytes
        )

    def due(self, works: Iterable[Work], now: float) -> list[Work]:
        """Return those of the works whose results should be recorded now, or that should be handed back."""
        return [
            work
            for work in works
            if not work.settling and now >= work.settle_at and self._should_settle(work, now)
        ]

    def _should_settle(self, work: Work, now: float) -> bool:
        if work.left == 0 or (work.ending and not work.calls):
            return True
        return bool(work.results) and (
            work.one_by_one
            or now >= work.waits_since + self._options.flush_seconds
            or work.result_bytes >= self._options.flush_bytes
            or self.is_full()
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
            began = self._clock()
            if not await self._source.record(work, results, finished):
                return Settled.FENCED
            if work.gone:
                return Settled.HELD
            self._forget(work, len(results))
            work.waits_since = began  # what is left came later
        if finished:
            return Settled.DONE
        # While it was recorded, more may have come.
        if work.ending and not work.calls and not work.results and work.left:
            await self._source.release(work)
            return Settled.DONE
        return Settled.HELD
