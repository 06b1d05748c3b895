"""The works an engine holds, and whose line is next."""

import heapq
import itertools
import math
from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Iterator, Mapping

from batches.executor.outage import Breaker
from batches.executor.pace import Pace
from batches.executor.work import Line, Options, Work


class Pool:
    """Never gives out a line that a limit, the pace, the window, an outage or a pause forbids to start."""

    def __init__(self, options: Options, limits: Mapping[tuple[str, Hashable], int]) -> None:
        self.works: dict[int, Work] = {}
        self.paces: dict[tuple[int, str], Pace] = {}
        self.paused: set[int] = set()  # keys of upstreams
        self.in_flight = 0
        self._options = options
        self._limits = limits
        self._open: dict[int, Work] = {}  # works that have a line to start; perhaps also others
        self._calls: Counter[tuple[str, Hashable]] = Counter()
        self._breakers: dict[int, Breaker] = {}
        self._waiting: list[
            tuple[float, int, Work, Line]
        ] = []  # a heap, the first to be due in front
        self._numbers = itertools.count()

    # Works

    def add(self, work: Work) -> None:
        work.number = next(self._numbers)
        work.pace = self._pace(work)
        self.works[work.key] = self._open[work.key] = work

    def remove(self, work: Work) -> None:
        work.gone = True
        if self.works.get(work.key) is work:
            del self.works[work.key]
            self._open.pop(work.key, None)

    def owners(self) -> frozenset[Hashable]:
        return frozenset(work.owner for work in self.works.values() if not work.ending)

    # Lines

    def start(self, now: float) -> Iterator[tuple[Work, Line]]:
        """Yield the lines that may be called now, and count each as called.

        The next is of the owner with the fewest calls in flight here, of its earliest deadline, first claimed.
        """
        if all(pace.room(now) <= 0 for pace in self.paces.values()):
            return
        owners = [self._rank(queue) for queue in self._queues()]
        heapq.heapify(owners)
        while owners and self.in_flight < self._options.concurrency:
            queue = owners[0][-1]
            while queue and not self._may_start(queue[0], now):
                queue.popleft()
            if not queue:
                heapq.heappop(owners)
            elif owners[0] != (present := self._rank(queue)):
                heapq.heapreplace(owners, present)
            else:
                yield queue[0], self._begin(queue[0], now)

    def _queues(self) -> list[deque[Work]]:
        """Return each owner's works that may have a line to start, in their order."""
        queues: defaultdict[Hashable, deque[Work]] = defaultdict(deque)
        for work in sorted(self._ready(), key=_order):
            queues[work.owner].append(work)
        return list(queues.values())

    def _ready(self) -> list[Work]:
        """Return the works that may have a line to start."""
        works = list(self._open.values())
        for work in works:
            if not work.unstarted:
                del self._open[work.key]
        return works

    def _rank(self, queue: deque[Work]) -> tuple[int, float, int, deque[Work]]:
        return self._calls["owner", queue[0].owner], *_order(queue[0]), queue

    def _may_start(self, work: Work, now: float) -> bool:
        return work.pace.room(now) > 0 and self._lacks_slot(work, now)

    def _lacks_slot(self, work: Work, now: float) -> bool:
        """Return whether a line of it waits for nothing but the pace, or a slot of the engine."""
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
        return self._limits.get((kind, key), math.inf) - self._calls[kind, key]

    def _begin(self, work: Work, now: float) -> Line:
        line = work.ready.popleft() if work.ready else Line(work.requests.popleft())
        self._count(work, 1)
        self.breaker(work).started(line)
        line.number = work.pace.began(now)
        return line

    def ended(self, work: Work, line: Line, now: float) -> None:
        """The call is over, with or without an outcome."""
        self._count(work, -1)
        self.breaker(work).ended(line)
        work.pace.ended(line.number, now)

    def wait(self, work: Work, line: Line, until: float) -> None:
        """Keep a line, without a slot, until it is due to be called again."""
        heapq.heappush(self._waiting, (until, next(self._numbers), work, line))

    def wake(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            _, _, work, line = heapq.heappop(self._waiting)
            work.ready.append(line)
            if not work.gone:
                self._open[work.key] = work

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

    def _pace(self, work: Work) -> Pace:
        place = work.target.place
        if place not in self.paces:
            self.paces[place] = Pace(
                self._options.concurrency,
                rest_seconds=self._options.backoff_seconds,
                max_rest_seconds=self._options.max_backoff_seconds,
                learnt=work.target.learnt,
            )
        return self.paces[place]

    # How much there is to do

    def startable(self, now: float) -> Counter[Pace]:
        """Return how many lines wait for nothing but a slot."""
        lines: Counter[Pace] = Counter()
        for work in self._ready():
            if self._lacks_slot(work, now):
                lines[work.pace] += work.unstarted
        return lines

    def wanted(self, now: float) -> int:
        """Return how many lines would fill the free slots, with some in reserve while they are fetched."""
        free, reserve = self._options.concurrency - self.in_flight, self._options.reserve
        lines = self.startable(now)
        used = [pace for pace in self.paces.values() if pace.in_flight or lines[pace]]
        if not used:
            return free + reserve
        wants = (min(free, pace.room(now)) + reserve - lines[pace] for pace in used)
        return min(free + reserve, sum(max(0, want) for want in wants))

    def full(self) -> frozenset[tuple[int, str]]:
        """Return the places that have lines enough here for some time, even if their pace doubles."""
        lines: defaultdict[tuple[int, str], float] = defaultdict(int)
        for work in self._ready():
            if not work.ending:
                lines[work.target.place] += min(work.unstarted, self._room("batch", work.batch))
        return frozenset(
            place
            for place, count in lines.items()
            if count >= 2 * self.paces[place].limit + self._options.reserve
        )

    def held_bytes(self) -> int:
        return sum(work.body_bytes for work in self.works.values())


def _order(work: Work) -> tuple[float, int]:
    return work.deadline, work.number
