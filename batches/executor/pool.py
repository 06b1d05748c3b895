"""The works an engine holds, and whose line is next."""

import heapq
import itertools
from collections import Counter
from collections.abc import Hashable, Mapping

from batches.executor.outage import Breaker
from batches.executor.work import Line, Options, Work


class Pool:
    """Never gives out a line that a limit, the window, an outage or a pause forbids to start."""

    def __init__(self, options: Options, limits: Mapping[tuple[str, Hashable], int]) -> None:
        self.works: dict[int, Work] = {}
        self.paused: set[int] = set()  # keys of upstreams
        self.in_flight = 0
        self._options = options
        self._limits = limits
        self._calls: Counter[tuple[str, Hashable]] = Counter()
        self._breakers: dict[int, Breaker] = {}
        self._waiting: list[
            tuple[float, int, Work, Line]
        ] = []  # a heap, the first to be due in front
        self._numbers = itertools.count()

    # Works

    def add(self, work: Work) -> None:
        work.number = next(self._numbers)
        self.works[work.key] = work

    def remove(self, work: Work) -> None:
        work.gone = True
        if self.works.get(work.key) is work:
            del self.works[work.key]

    def owners(self) -> frozenset[Hashable]:
        return frozenset(work.owner for work in self.works.values() if not work.ending)

    # Lines

    def next(self, now: float) -> tuple[Work, Line] | None:
        """Return a line of the owner with the fewest calls in flight here, of its earliest deadline, first claimed."""
        works = [work for work in self.works.values() if self._may_start(work, now)]
        if not works:
            return None
        work = min(works, key=self._rank)
        return work, work.ready.popleft() if work.ready else Line(work.requests.popleft())

    def _rank(self, work: Work) -> tuple[int, float, int]:
        return self._calls["owner", work.owner], work.deadline, work.number

    def _may_start(self, work: Work, now: float) -> bool:
        return (
            work.unstarted > 0
            and not work.ending
            and not work.must_wait
            and work.target.key not in self.paused
            and self._room("batch", work.batch) > 0
            and self._room("upstream", work.target.key) > 0
            and self.breaker(work).allows(now)
        )

    def _room(self, kind: str, key: Hashable) -> float:
        return self._limits.get((kind, key), float("inf")) - self._calls[kind, key]

    def wait(self, work: Work, line: Line, until: float) -> None:
        """Keep a line, without a slot, until it is due to be called again."""
        heapq.heappush(self._waiting, (until, next(self._numbers), work, line))

    def wake(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            _, _, work, line = heapq.heappop(self._waiting)
            work.ready.append(line)

    # Calls

    def began(self, work: Work, line: Line) -> None:
        self._count(work, 1)
        self.breaker(work).started(line)

    def ended(self, work: Work, line: Line) -> None:
        self._count(work, -1)
        self.breaker(work).ended(line)

    def _count(self, work: Work, step: int) -> None:
        self.in_flight += step
        for key in (("owner", work.owner), ("batch", work.batch), ("upstream", work.target.key)):
            self._calls[key] += step
            if not self._calls[key]:
                del self._calls[key]

    # Upstreams

    def breaker(self, work: Work) -> Breaker:
        key = work.target.key
        if key not in self._breakers:
            self._breakers[key] = Breaker(key, self._options)
        return self._breakers[key]

    def down(self) -> frozenset[int]:
        return frozenset(key for key, breaker in self._breakers.items() if breaker.down)

    # How much there is to do

    def startable(self, now: float) -> int:
        """Return how many lines wait for nothing but a slot."""
        return sum(work.unstarted for work in self.works.values() if self._may_start(work, now))

    def held_bytes(self) -> int:
        return sum(work.body_bytes for work in self.works.values())
