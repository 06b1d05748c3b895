"""A model server as a model of events, with a clock of its own: minutes of it pass in a second."""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from batches.executor.pace import Pace


@dataclass
class Server:
    """Serves `slots` calls at once, lets `queue` more wait, and refuses the rest."""

    slots: int
    queue: float = math.inf
    seconds: float = 0.5  # of service: the median
    sigma: float = 0.6  # lognormal
    counted: bool = True  # answers have tokens, in proportion to their time
    retry_after: float | None = None
    changes: list[tuple[float, int]] = field(default_factory=list)  # when, slots

    @property
    def per_second(self) -> float:
        """Calls it can answer at most."""
        return self.slots / (self.seconds * math.exp(self.sigma**2 / 2))


@dataclass
class Run:
    """Endless lines against a server, at a pace."""

    server: Server
    pace: Pace
    seed: int = 1
    now: float = 0.0
    answers: list[float] = field(default_factory=list)  # when
    refusals: list[float] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)  # at the end of each call

    def go(self, seconds: float) -> "Run":
        self.rng = random.Random(self.seed)
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.serving = 0
        self.queue: deque[tuple[int, float]] = deque()
        for when, slots in self.server.changes:
            self._at(when, lambda slots=slots: self._resize(slots))
        self._send_all()
        while self.events and self.events[0][0] < seconds:
            self.now, _, act = heapq.heappop(self.events)
            act()
            self._send_all()
        return self

    def per_second(self, start: float, end: float) -> float:
        return sum(start <= when < end for when in self.answers) / (end - start)

    def limit(self, start: float, end: float) -> float:
        """The mean over the calls that ended in that time."""
        limits = [limit for when, limit in self.limits if start <= when < end]
        return sum(limits) / len(limits)

    @property
    def refused(self) -> float:
        """The share of all answers."""
        return len(self.refusals) / (len(self.refusals) + len(self.answers))

    def _at(self, when: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), act))

    def _resize(self, slots: int) -> None:
        self.server.slots = slots
        self._serve()

    def _send_all(self) -> None:
        if self.now < self.pace.rests_until < math.inf:
            self._at(self.pace.rests_until, lambda: None)
        while self.pace.room(self.now) > 0:
            self._send(self.pace.began(self.now))

    def _send(self, number: int) -> None:
        if self.serving + len(self.queue) >= self.server.slots + self.server.queue:
            self._at(self.now + 0.005, lambda: self._refuse(number))
        else:
            self.queue.append((number, self.now))
            self._serve()

    def _serve(self) -> None:
        while self.queue and self.serving < self.server.slots:
            number, sent = self.queue.popleft()
            self.serving += 1
            size = self.rng.lognormvariate(0, self.server.sigma)
            tokens = round(100 * size) if self.server.counted else 0
            self._at(
                self.now + self.server.seconds * size,
                lambda number=number, sent=sent, tokens=tokens: self._answer(number, sent, tokens),
            )

    def _answer(self, number: int, sent: float, tokens: int) -> None:
        self.serving -= 1
        self.answers.append(self.now)
        self.pace.answered(number, self.now - sent, tokens)
        self._end(number)
        self._serve()

    def _refuse(self, number: int) -> None:
        self.refusals.append(self.now)
        self.pace.refused(number, self.now, self.server.retry_after)
        self._end(number)

    def _end(self, number: int) -> None:
        self.pace.ended(number, self.now)
        self.limits.append((self.now, self.pace.limit))
