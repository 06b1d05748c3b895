"""A model server as a model of events, with a clock of its own: minutes of it pass in a second."""

import heapq
import itertools
import math
import random
from collections import deque
from dataclasses import dataclass, field

from batches.executor.pace import Pace


@dataclass
class Server:
    """Serves `slots` calls at once, lets `queue` more wait, and refuses the rest.

    seconds, sigma: of the lognormal time a call is served. drag: what each call in service adds to that, as a share.
    tokens: an answer has them in proportion to its time; else each has none.
    """

    slots: int
    queue: float = math.inf
    seconds: float = 0.5
    sigma: float = 0.6
    drag: float = 0.0
    tokens: bool = True
    retry_after: float | None = None
    refuse_seconds: float = 0.005
    changes: list[tuple[float, int]] = field(default_factory=list)  # when, slots


@dataclass
class Seen:
    answered: int = 0
    refused: int = 0
    limits: list[tuple[float, int]] = field(default_factory=list)

    def answered_after(self, at):
        return self.times.get(at)


class Run:
    """Drives a pace with endless lines against a server, for so many seconds."""

    def __init__(self, server: Server, pace: Pace, seed: int = 1) -> None:
        self.server, self.pace = server, pace
        self.rng = random.Random(seed)
        self.now = 0.0
        self.answers: list[float] = []  # when
        self.refusals: list[float] = []
        self.limits: list[tuple[float, int]] = []
        self._events: list = []
        self._order = itertools.count()
        self._serving = 0
        self._queue: deque = deque()

    def at(self, when, act):
        heapq.heappush(self._events, (when, next(self._order), act))

    def go(self, seconds: float) -> "Run":
        for when, slots in self.server.changes:
            self.at(when, lambda slots=slots: self._resize(slots))
        self._fill()
        while self._events and self._events[0][0] < seconds:
            self.now, _, act = heapq.heappop(self._events)
            act()
            self._fill()
        return self

    def per_second(self, start, end):
        return sum(start <= when < end for when in self.answers) / (end - start)

    def limit_between(self, start, end):
        """The mean over time."""
        inside = [limit for when, limit in self.limits if start <= when < end]
        return sum(inside) / len(inside)

    def _resize(self, slots):
        self.server.slots = slots
        self._serve()

    def _fill(self):
        if self.now < self.pace.rests_until:
            self.at(self.pace.rests_until, lambda: None)
        while self.pace.room(self.now) > 0:
            self._send()

    def _send(self):
        number = self.pace.began(self.now)
        if self._serving + len(self._queue) >= self.server.slots + self.server.queue:
            self.at(self.now + self.server.refuse_seconds, lambda: self._refuse(number))
        else:
            self._queue.append((number, self.now))
            self._serve()

    def _serve(self):
        while self._queue and self._serving < self.server.slots:
            number, sent = self._queue.popleft()
            self._serving += 1
            work = self.rng.lognormvariate(0, self.server.sigma)
            seconds = self.server.seconds * work * (1 + self.server.drag * self._serving)
            tokens = round(100 * work) if self.server.tokens else 0
            self.at(self.now + seconds, lambda n=number, s=sent, t=tokens: self._answer(n, s, t))

    def _answer(self, number, sent, tokens):
        self._serving -= 1
        self.answers.append(self.now)
        self.pace.answered(number, self.now - sent, tokens)
        self._end(number)
        self._serve()

    def _refuse(self, number):
        self.refusals.append(self.now)
        self.pace.refused(number, self.now, self.server.retry_after)
        self._end(number)

    def _end(self, number):
        self.pace.ended(number, self.now)
        self.limits.append((self.now, self.pace.limit))
