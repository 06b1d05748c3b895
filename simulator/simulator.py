"""What happens to a call: refused, served after its latency, or made to wait; and the count of it all."""

import asyncio
import hashlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from simulator import answers
from simulator.options import Options

# In counts and log only:
CUT_OFF = 444  # the caller gets no answer, and its connection ends
ABANDONED = 499  # the caller hung up before its answer


class Request(NamedTuple):
    method: str
    path: str
    request_id: str  # of the caller's x-request-id; empty without one
    body: bytes


class Reply(NamedTuple):
    status: int
    body: bytes
    retry_after: float | None = None  # seconds


class Call:
    """One call of a model, from its last byte read to its answer."""

    __slots__ = ("request", "send", "started_at", "timer")

    def __init__(self, request: Request, send: Callable[[Reply], None]) -> None:
        self.request = request
        self.send = send
        self.started_at = time.time()
        self.timer: asyncio.TimerHandle | None = None  # set while it is served


class Simulator:
    """Answers requests by its `options`, which may be replaced at any time.

    Equal requests get equal answers, latencies and failures. A request that was made to fail draws anew
    when it comes again, so that retries can succeed.
    """

    def __init__(self, options: Options, log_path: str = "") -> None:
        self.options = options
        self.statuses: Counter[int] = Counter()
        self.ids: Counter[str] = Counter()
        self.calls = self.in_flight = self.max_in_flight = 0
        self._call_seconds = 0.0  # in flight, of all calls, up to `_counted_at`
        self._counted_at = time.monotonic()
        self._waiting: deque[Call] = deque()
        self._failures: Counter[bytes] = Counter()  # by digest of the request
        self._log = (
            os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if log_path else None
        )
        self._pages: dict[tuple[str, str], Callable[[Request], Reply]] = {
            ("GET", "/health"): lambda request: self._page({"status": "ok"}),
            ("GET", "/stats"): lambda request: self._page(self.stats()),
            ("GET", "/v1/models"): self._models,
            ("POST", "/settings"): self._settings,
        }

    def take(self, request: Request, send: Callable[[Reply], None]) -> Call | None:
        """See to it that `send` is called once with the answer; None when it has been already.

        A Call is returned while the answer is pending: `abandon` it when the caller is gone.
        """
        page = self._pages.get((request.method, request.path))
        if page:
            send(page(request))
        elif request.method != "POST" or request.path not in answers.ENDPOINTS:
            message = f"Unknown request URL: {request.method} {request.path}"
            send(Reply(404, answers.error(message, "invalid_request_error", code="unknown_url")))
        else:
            return self._admit(Call(request, send))
        return None

    def abandon(self, call: Call) -> None:
        """Free what the call takes up; its answer goes nowhere."""
        if call.timer:
            call.timer.cancel()
            self._count(-1)
        else:
            self._waiting.remove(call)
        self._record(call, ABANDONED)
        self._serve_waiting()

    def stats(self) -> dict[str, object]:
        """Counts since the start; `by_request_id` only with the option `count_ids`.

        The growth of `call_seconds` by that of `clock` is how many calls were in flight between two looks.
        """
        self._count(0)
        counts: dict[str, object] = {
            "calls": self.calls,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "call_seconds": self._call_seconds,
            "clock": self._counted_at,
            "waiting": len(self._waiting),
            "by_status": {str(status): count for status, count in self.statuses.items()},
        }
        if self.options.count_ids:
            counts["by_request_id"] = self.ids
        return counts

    # Calls

    def _admit(self, call: Call) -> Call | None:
        self.calls += 1
        if self.options.count_ids:
            self.ids[call.request.request_id] += 1
        if self.options.broken:
            self._end(call, Reply(CUT_OFF, b""))
            return None
        if self._has_room():
            return self._serve(call)
        if len(self._waiting) < self.options.queue:
            self._waiting.append(call)
            return call
        self._end(call, self._too_many())
        return None

    def _has_room(self) -> bool:
        return self.options.capacity is None or self.in_flight < self.options.capacity

    def _serve(self, call: Call) -> Call | None:
        key = self.options.seed.to_bytes(8)
        digest = hashlib.blake2b(call.request.body, digest_size=32, key=key).digest()
        reply = self._refusal(digest) or self._answer(call.request, digest)
        self._count(1)
        delay = self.options.seconds(_position(digest)) if reply.status in (200, 500) else 0
        if delay:
            loop = asyncio.get_running_loop()
            call.timer = loop.call_later(delay, self._finish, call, reply)
            return call
        self._count(-1)
        self._end(call, reply)
        return None

    def _finish(self, call: Call, reply: Reply) -> None:
        self._count(-1)
        self._end(call, reply)
        self._serve_waiting()

    def _count(self, step: int) -> None:
        now = time.monotonic()
        self._call_seconds += self.in_flight * (now - self._counted_at)
        self._counted_at = now
        self.in_flight += step
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def _end(self, call: Call, reply: Reply) -> None:
        self._record(call, reply.status)
        call.send(reply)

    def _serve_waiting(self) -> None:
        while self._waiting and self._has_room():
            self._serve(self._waiting.popleft())

    def _refusal(self, digest: bytes) -> Reply | None:
        options = self.options
        if not (options.fail or options.reject):
            return None
        failures = self._failures[digest].to_bytes(8)
        draw = _position(hashlib.blake2b(digest + failures, digest_size=8).digest())
        if draw >= options.fail + options.reject:
            return None
        self._failures[digest] += 1
        if draw < options.reject:
            return self._too_many()
        return Reply(500, answers.error("Simulated failure.", "server_error"))

    def _too_many(self) -> Reply:
        message = "Simulated overload: too many requests."
        body = answers.error(message, "rate_limit_error", code="rate_limit_exceeded")
        return Reply(429, body, self.options.retry_after)

    def _answer(self, request: Request, digest: bytes) -> Reply:
        try:
            parsed = answers.parse(request.body)
            if self.options.models and parsed["model"] not in self.options.models:
                message = f"The model {parsed['model']!r} does not exist."
                raise answers.Refused(message, status=404, param="model", code="model_not_found")
            tokens = self.options.words(_position(digest))
            body = answers.ENDPOINTS[request.path](parsed, digest, tokens)
        except answers.Refused as no:
            text = answers.error(no.message, "invalid_request_error", param=no.param, code=no.code)
            return Reply(no.status, text)
        return Reply(200, msgspec.json.encode(body))

    def _record(self, call: Call, status: int) -> None:
        self.statuses[status] += 1
        if self._log is not None:
            entry = {
                "time": call.started_at,
                "path": call.request.path,
                "x-request-id": call.request.request_id,
                "status": status,
                "seconds": round(time.time() - call.started_at, 4),
            }
            os.write(self._log, msgspec.json.encode(entry) + b"\n")

    # Pages

    def _page(self, content: dict[str, object]) -> Reply:
        return Reply(200, msgspec.json.encode({**content, "simulated": True}))

    def _models(self, request: Request) -> Reply:
        names = self.options.models or ["simulated"]
        rows = [
            {"id": name, "object": "model", "created": answers.CREATED, "owned_by": "simulated"}
            for name in names
        ]
        return self._page({"object": "list", "data": rows})

    def _settings(self, request: Request) -> Reply:
        try:
            self.options = self.options.changed(msgspec.json.decode(request.body))
        except ValueError as reason:
            return Reply(400, answers.error(str(reason), "invalid_request_error"))
        self._serve_waiting()
        return self._page(msgspec.structs.asdict(self.options))


def _position(digest: bytes) -> float:
    """A number between 0 and 1, both excluded, from the first eight bytes of a digest."""
    return (int.from_bytes(digest[:8]) + 0.5) / 2**64
