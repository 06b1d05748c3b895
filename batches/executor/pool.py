"""The works an engine holds, and whose line is next."""

import bisect
import heapq
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping

from batches.executor.outage import Breaker, Health
from batches.executor.pace import Pace
from batches.executor.work import Gate, Line, Options, Work


class Pool:
    """Never gives out a line that a limit, the pace, the window, an outage or a pause forbids to start.

    unstarted: lines that have not begun, or wait no longer to be called again.
    """

    def __init__(self, options: Options, limits: Mapping[tuple[str, Hashable], int]) -> None:
        self.works: dict[int, Work] = {}
        self.paces: dict[tuple[int, str], Pace] = {}
        self.paused: set[int] = set()  # keys of upstreams
        self.in_flight = 0
        self.unstarted = 0
        self._options = options
        self._limits = limits
        self._least_reserve = options.reserve
        # Each owner's works that have a line to start, perhaps also others, in their order.
        self._open: dict[Hashable, list[Work]] = {}
        self._gates: dict[tuple[str, Hashable], Gate] = {}
        self._breakers: dict[int, Breaker] = {}
        self._waiting: list[
            tuple[float, int, Work, Line]
        ] = []  # a heap, the first to be due in front
        self._numbers = itertools.count()

    # Works

    def add(self, work: Work) -> None:
        work.order = -work.priority, work.deadline, next(self._numbers)
        work.pace = self._pace(work)
        work.breaker = self._breaker(work.target.key)
        work.of_owner = self._gate("owner", work.owner)
        work.of_batch = self._gate("batch", work.batch)
        work.of_upstream = self._gate("upstream", work.target.key)
        self.works[work.key] = work
        self.unstarted += work.unstarted
        self._reopen(work)

    def remove(self, work: Work) -> None:
        work.gone = True
        if self.works.get(work.key) is work:
            del self.works[work.key]
            self.unstarted -= work.unstarted
            self._close(work)

    def owners(self) -> frozenset[Hashable]:
        return frozenset(work.owner for work in self.works.values() if not work.ending)

    def _reopen(self, work: Work) -> None:
        if not work.open:
            work.open = True
            bisect.insort(self._open.setdefault(work.owner, []), work, key=_order)

    def _close(self, work: Work) -> None:
        works = self._open.get(work.owner, [])
        if work.open:
            work.open = False
            works.remove(work)
        if not works:
            self._open.pop(work.owner, None)

    # Lines

    def next(self, now: float) -> tuple[Work, Line] | None:
        """Return a line that may be called now, and count it as called; None if there is none.

        It is of the highest priority, then of the owner with the fewest calls in flight here, then of the earliest
        deadline, first claimed.
        """
        if self.in_flight >= self._options.concurrency:
            return None
        found: Work | None = None
        for works in self._open.values():
            work = self._first(works, now)
            if work is not None and (found is None or _rank(work) < _rank(found)):
                found = work
        return None if found is None else (found, self._begin(found, now))

    def _first(self, works: list[Work], now: float) -> Work | None:
        """Return the first work that may start a line; take out those that have none."""
        place = 0
        while place < len(works):
            work = works[place]
            if not (work.requests or work.ready):
                work.open = False
                del works[place]
            elif work.pace.allows(now) and self._lacks_slot(work, now):
                return work
            else:
                place += 1
        return None

    def _lacks_slot(self, work: Work, now: float) -> bool:
        """Return whether a line of it, should there be one, waits for nothing but the pace, or a slot of the engine."""
        limits, batch, upstream = self._limits, work.of_batch, work.of_upstream
        return (
            batch.calls < limits.get(batch.thing, math.inf)
            and upstream.calls < limits.get(upstream.thing, math.inf)
            and not work.ending
            and not (work.one_by_one and work.must_wait)
            and work.target.key not in self.paused
            and work.breaker.allows(now)
        )

    def _room(self, gate: Gate) -> float:
        return self._limits.get(gate.thing, math.inf) - gate.calls

    def _begin(self, work: Work, now: float) -> Line:
        line = work.ready.popleft() if work.ready else Line(work.requests.popleft())
        self.unstarted -= 1
        self._count(work, 1)
        work.breaker.started(line)
        line.number = work.pace.began(now)
        return line

    def put_back(self, work: Work, line: Line) -> None:
        """A line that was given out is not called after all; it is the first of its work again."""
        work.ready.appendleft(line)
        if not work.gone:
            self.unstarted += 1
            self._reopen(work)

    def ended(self, work: Work, line: Line, now: float) -> None:
        """The call is over, with or without an outcome."""
        self._count(work, -1)
        work.breaker.ended(line)
        work.pace.ended(line.number, now)

    def wait(self, work: Work, line: Line, until: float) -> None:
        """Keep a line, without a slot, until it is due to be called again."""
        heapq.heappush(self._waiting, (until, next(self._numbers), work, line))

    def wake(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            _, _, work, line = heapq.heappop(self._waiting)
            work.ready.append(line)
            if not work.gone:
                self.unstarted += 1
                self._reopen(work)

    def _count(self, work: Work, step: int) -> None:
        self.in_flight += step
        work.of_owner.calls += step
        work.of_batch.calls += step
        work.of_upstream.calls += step

    def _gate(self, kind: str, key: Hashable) -> Gate:
        thing = (kind, key)
        gate = self._gates.get(thing)
        if gate is None:
            gate = self._gates[thing] = Gate(thing)
        return gate

    # Upstreams

    def _breaker(self, key: int) -> Breaker:
        if key not in self._breakers:
            self._breakers[key] = Breaker(
                key,
                failures=self._options.outage_failures,
                probe_seconds=self._options.probe_seconds,
                max_probe_seconds=self._options.max_probe_seconds,
                blame_seconds=self._options.blame_seconds,
            )
        return self._breakers[key]

    def down(self) -> frozenset[int]:
        return frozenset(key for key, breaker in self._breakers.items() if breaker.down)

    def health(self) -> dict[int, Health]:
        """Of each upstream that answered or is down."""
        return {
            key: Health((one.reason or "no answer") if one.down else "", one.answered_at)
            for key, one in self._breakers.items()
            if one.down or one.answered_at > -math.inf
        }

    def _pace(self, work: Work) -> Pace:
        place = work.target.place
        if place not in self.paces:
            self.paces[place] = Pace(
                self._options.concurrency,
                rest_seconds=self._options.backoff_seconds,
                max_rest_seconds=self._options.max_backoff_seconds,
                max_bytes=self._options.max_arriving_bytes,
                learnt=work.target.learnt,
            )
        return self.paces[place]

    # How much there is to do

    def _ready(self) -> Iterator[Work]:
        """The works that have a line to start."""
        return (work for work in self.works.values() if work.unstarted)

    def startable(self, now: float) -> Counter[Pace]:
        """Return how many lines wait for nothing but a slot."""
        lines: Counter[Pace] = Counter()
        for work in self._ready():
            if self._lacks_slot(work, now):
                lines[work.pace] += work.unstarted
        return lines

    def wanted(self, now: float) -> int:
        """Return how many lines would fill the free slots and the store, 0 while there are enough."""
        free, lines = self._options.concurrency - self.in_flight, self.startable(now)
        used = [pace for pace in self.paces.values() if pace.in_flight or lines[pace]]
        if not used:
            return free + self._least_reserve
        wants = []
        for pace in used:
            room = min(free, pace.room(now))
            if lines[pace] < max(room, self._reserve(pace)):
                wants.append(room + self._store(pace) - lines[pace])
        return min(free + max(map(self._store, used)), sum(wants))

    def runs_low(self, pace: Pace) -> bool:
        """Whether there may be too few lines at hand for a pace."""
        return self.unstarted <= self._least_reserve or self.unstarted <= pace.limit

    def _reserve(self, pace: Pace) -> int:
        """Return how many lines to keep at hand for a pace: answers come in waves, and the next one must not find none."""
        return max(self._least_reserve, pace.limit)

    def _store(self, pace: Pace) -> int:
        """Return how many lines to fetch when fewer than the reserve are left: a claim costs more than its lines."""
        return max(self._reserve(pace), pace.within(self._options.ahead_seconds))

    def line_room(self) -> dict[tuple[int, str], int]:
        """Return how many more lines each known place can use for some time, even if its pace doubles."""
        lines: defaultdict[tuple[int, str], float] = defaultdict(int)
        for work in self._ready():
            if not work.ending:
                lines[work.target.place] += min(work.unstarted, self._room(work.of_batch))
        return {
            place: int(pace.limit + self._store(pace) + self._least_reserve - lines[place])
            for place, pace in self.paces.items()
        }

    def held_bytes(self) -> int:
        return sum(work.body_bytes for work in self.works.values())


def _order(work: Work) -> tuple[int, float, int]:
    return work.order


def _rank(work: Work) -> tuple[int, int, tuple[int, float, int]]:
    return -work.priority, work.of_owner.calls, work.order
