"""What the executor is given to do, by whom, and how: the interface to the rest of the service."""

import asyncio
import math
from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from batches.executor.lines import Request, Result
from batches.executor.outage import Breaker
from batches.executor.pace import Pace

MB = 1024 * 1024
HEADERS = {  # of every call
    "content-type": "application/json",
    "accept": "application/json",
    "accept-encoding": "identity",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How an engine runs. Seconds, bytes, or counts."""

    concurrency: int = 512  # calls in flight
    burst: int = 64  # calls begun at once, beside those that follow on others
    burst_seconds: float = 0.025  # between two bursts
    max_attempts: int = 5  # of a line; only those that are its own fault count

    backoff_seconds: float = 0.5  # the first wait between two calls of a line, then doubled
    max_backoff_seconds: float = 30
    outage_failures: int = 10  # in a row, and the upstream counts as down
    probe_seconds: float = (
        1  # the first wait between two tries of an upstream that is down, then doubled
    )
    max_probe_seconds: float = 30
    # Between two attempts that a line loses to failures which may be an outage's: with five attempts it outlasts
    # one of ten minutes.
    blame_seconds: float = 180

    flush_seconds: float = 1  # the longest an answer waits to be recorded
    flush_bytes: int = 4 * MB
    max_unrecorded_bytes: int = 64 * MB  # more than this waits to be recorded: no new call
    max_held_bytes: int = 64 * MB  # more than this in bodies is held: no claim
    max_answer_bytes: int = 10 * MB  # what the transport takes at most
    max_arriving_bytes: int = (
        256 * MB
    )  # of one upstream and model, going by the mean of its answers

    claim_seconds: float = 1  # between two claims when there is enough to do
    ahead_seconds: float = 0.25  # for which a claim brings lines: it costs more than they do
    poll_seconds: float = 0.3  # between two claims when there is nothing to claim
    source_backoff_seconds: float = 0.5  # the first wait after the source failed, then doubled
    max_source_backoff_seconds: float = 10

    grace_seconds: float = 5  # for calls in flight when the window closes or the upstream is paused
    give_up_seconds: float = 3  # after the grace of a stop, on results that cannot be recorded
    idle_seconds: float = 2  # without any work, and the engine is done
    tick_seconds: float = 0.05  # the longest a wait or a changed limit goes unnoticed

    @property
    def max_unrecorded(self) -> int:
        """Answers that wait to be recorded, and no call begins."""
        return 4 * self.concurrency

    @property
    def reserve(self) -> int:
        """Lines kept at hand at least, beyond the free slots, while more are fetched."""
        return self.concurrency // 8


@dataclass(frozen=True, slots=True)
class Target:
    """Where the requests of a shard go."""

    key: int  # of the upstream
    url: str  # complete, with the endpoint
    headers: Mapping[str, str] = field(repr=False)  # the upstream's key is among them
    timeout: float  # seconds for one whole call
    model: str = ""  # what the upstream bears is learnt for each of its models
    learnt: float | None = None  # calls in flight that it bore lately

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", {**self.headers, **HEADERS})

    @property
    def place(self) -> tuple[int, str]:
        return self.key, self.model


@dataclass(slots=True, eq=False)
class Gate:
    """The calls in flight for one thing: an owner, a batch, an upstream."""

    thing: tuple[str, Hashable]  # its kind and its key
    calls: int = 0


# No repr of these two: bodies must not end up in a log.


@dataclass(slots=True, eq=False, repr=False)
class Line:
    """A request whose first call has begun."""

    request: Request
    calls: int = 0
    attempts: int = 0  # calls whose failure was the line's own
    blamed_at: float | None = None  # for the breaker
    number: int = 0  # of its latest call, in the pace


@dataclass(slots=True, eq=False, repr=False)
class Work:
    """A claimed shard: the requests that have no result yet, and where the engine stands with them."""

    key: int  # of the shard
    batch: str
    owner: Hashable
    deadline: float  # by the engine's clock; no call begins after it
    target: Target
    requests: deque[Request]
    attempt: int = 1  # of the batch
    priority: int = 0  # the highest goes first
    alone: bool = False  # for the source: no other work beside it
    one_by_one: bool = False  # no call begins before the result of the one before is recorded

    # The engine's own, set when it takes the work in
    order: tuple[int, float, int] = field(init=False)  # priority, earliest deadline, first claimed
    pace: Pace = field(init=False)
    breaker: Breaker = field(init=False)
    of_owner: Gate = field(init=False)
    of_batch: Gate = field(init=False)
    of_upstream: Gate = field(init=False)
    open: bool = field(default=False, init=False)  # among the works whose next line is looked for
    ready: deque[Line] = field(default_factory=deque, init=False)  # to be called again, now
    calls: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    left: int = field(init=False)  # requests without a result
    body_bytes: int = field(init=False)  # of the requests without a result
    ends_at: float = field(
        default=math.inf, init=False
    )  # finite: no new call; at that time, no call
    gone: bool = field(default=False, init=False)  # no longer held

    results: list[Result] = field(default_factory=list, init=False)  # not recorded yet
    result_bytes: int = field(default=0, init=False)
    waits_since: float = field(default=0, init=False)  # the oldest of them
    settling: bool = field(default=False, init=False)
    settle_at: float = field(default=0, init=False)  # not before, after the source failed
    source_failures: int = field(default=0, init=False)  # in a row

    def __post_init__(self) -> None:
        self.left = len(self.requests)
        self.body_bytes = sum(len(request.body) for request in self.requests)

    @property
    def ending(self) -> bool:
        return self.ends_at < math.inf

    @property
    def unstarted(self) -> int:
        return len(self.requests) + len(self.ready)

    @property
    def must_wait(self) -> bool:
        """A line was begun and has no recorded result, and until then none may begin."""
        return self.one_by_one and (self.left > self.unstarted or bool(self.results))


class Source(Protocol):
    """Who has the work and takes the results. Whatever it raises is logged and tried again later."""

    async def claim(self, wanted: int, holding: frozenset[Hashable]) -> list[Work]:
        """Return new works of about `wanted` lines; beside them, or if `wanted` is 0, one of an owner not in `holding`.

        Works of a batch or upstream whose limit the held ones fill would only wait here: leave them to others.
        """

    async def record(self, work: Work, results: list[Result], finished: bool) -> bool:
        """Make results durable; False if the work is no longer this engine's.

        `finished`: every request of the work has its result now. After an exception the same results come again,
        perhaps with more.
        """

    async def release(self, work: Work) -> None:
        """Hand back a work that has requests without a result. Its results are recorded."""

    async def calling(self, work: Work, *, begun: bool) -> bool:
        """Of a work that runs one by one: a line of it is now being called, or no more; a record says the latter, too.

        Return False if the work is no longer this engine's.
        """

    async def pause(self, target: Target, reason: str) -> None:
        """Let nobody call this upstream until it is corrected or resumed; unless it has been corrected since."""
