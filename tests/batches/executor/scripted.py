"""A model server on loopback that answers as told, and a source of work in memory."""

import asyncio
import itertools
import json
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from batches.executor.aiohttp_transport import AiohttpTransport
from batches.executor.engine import Engine, Options, Target, Work
from batches.executor.lines import Request, Result
from batches.executor.transport import Answer, TransportError

SECONDS = 20  # the most any wait in these tests lasts

FAST = {
    "backoff_seconds": 0.002,
    "max_backoff_seconds": 0.01,
    "probe_seconds": 0.02,
    "max_probe_seconds": 0.05,
    "blame_seconds": 0,
    "flush_seconds": 0.02,
    "poll_seconds": 0.02,
    "claim_seconds": 0.05,
    "source_backoff_seconds": 0.01,
    "max_source_backoff_seconds": 0.02,
    "grace_seconds": 0.05,
    "idle_seconds": 0.1,
    "tick_seconds": 0.005,
}


def options(**changes):
    return Options(**{**FAST, **changes})


async def until(condition, seconds=SECONDS):
    """Wait for a condition, and fail if it does not come."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - any condition, no event to wait for
            await asyncio.sleep(0.002)


# The upstream


@dataclass
class Call:
    path: str
    headers: dict[str, str]
    body: bytes
    number: int  # of all calls, from 1

    @property
    def id(self) -> str:
        return self.headers["x-request-id"]


def reply(body=b'{"ok":true}', status=200, **headers) -> bytes:
    """One whole HTTP answer. Underscores in header names stand for dashes."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Raw:
    """Bytes as they are, then: close, reset, or hang."""

    data: bytes = b""
    then: str = "close"
    pace: float = 0  # seconds between two bytes


Script = Callable[[Call], Awaitable[bytes | Raw] | bytes | Raw]


@dataclass
class Upstream:
    script: Script = lambda call: reply()
    calls: list[Call] = field(default_factory=list)
    connections: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    aborted: int = 0  # calls whose connection the client closed
    url: str = ""

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader, writer) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value
            for name, value in (line.split(": ", 1) for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        call = Call(head[0].split(" ")[1], headers, body, len(self.calls) + 1)
        self.calls.append(call)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(call, reader, writer)
        finally:
            self.in_flight -= 1

    async def _answer(self, call, reader, writer) -> bool:
        gone = asyncio.ensure_future(reader.read(1))
        answer = asyncio.ensure_future(self._script(call))
        await asyncio.wait([gone, answer], return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            self.aborted += 1
            return False
        told = answer.result()
        if isinstance(told, bytes):
            gone.cancel()
            await asyncio.wait([gone])
            writer.write(told)
            await writer.drain()
            return True
        await self._misbehave(told, writer, gone)
        return False

    async def _script(self, call):
        told = self.script(call)
        return await told if asyncio.iscoroutine(told) else told

    async def _misbehave(self, told, writer, gone):
        if told.pace:
            for byte in told.data:
                writer.write(bytes([byte]))
                await asyncio.wait([gone], timeout=told.pace)
        else:
            writer.write(told.data)
        if told.then == "hang":
            await asyncio.wait([gone])
            self.aborted += 1
        gone.cancel()
        if told.then == "reset":
            writer.transport.abort()

    def target(self, key=1, timeout=5.0) -> Target:
        return Target(
            key, self.url + "/chat/completions", {"authorization": "Bearer sk-up"}, timeout
        )


@asynccontextmanager
async def serving(script: Script = lambda call: reply(), tls=None) -> AsyncIterator[Upstream]:
    upstream = Upstream(script)
    tasks = set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        with suppress(asyncio.CancelledError):  # asyncio would log it
            await upstream.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 24, ssl=tls)
    scheme = "https" if tls else "http"
    upstream.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield upstream
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def transport(max_bytes=100_000, **changes) -> AsyncIterator[AiohttpTransport]:
    made = AiohttpTransport(max_bytes=max_bytes, **changes)
    try:
        yield made
    finally:
        await made.close()


class Scripted:
    """A Transport without a network: `script(request id, body)` returns, awaits or raises the outcome."""

    def __init__(self, script=lambda id, body: Answer(200, {}, b"{}")):
        self.script = script
        self.calls: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0

    async def post(self, url, headers, body, timeout, request_id=""):  # noqa: ASYNC109 - the interface
        self.calls.append(request_id)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            outcome = self.script(request_id, body)
            if asyncio.iscoroutine(outcome):
                outcome = await outcome
            else:
                await asyncio.sleep(0)
        finally:
            self.in_flight -= 1
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def close(self):
        pass


def broken(kind):
    return TransportError(kind)


# The source

_keys = itertools.count(1)
# Its pace has been found, and is out of the way.
TARGET = Target(1, "http://upstream.invalid/v1/chat/completions", {}, 5.0, learnt=1000)


def work(lines=1, *, batch="b", owner="o", target=TARGET, window=math.inf, bodies=None):
    """A shard of `lines` requests, whose custom_ids are <batch>-<index>."""
    bodies = bodies or [b'{"n":%d}' % index for index in range(lines)]
    requests = deque(
        Request(index, index + 1, b'"%s-%d"' % (batch.encode(), index), body)
        for index, body in enumerate(bodies)
    )
    return Work(next(_keys), batch, owner, time.monotonic() + window, target, requests)


@dataclass
class Memory:
    """A Source: gives out `waiting` works, keeps what is recorded."""

    waiting: deque[Work] = field(default_factory=deque)
    recorded: dict[int, list[Result]] = field(default_factory=dict)  # by key of the work
    finished: list[int] = field(default_factory=list)
    commits: int = 0
    released: list[Work] = field(default_factory=list)
    paused: list[tuple[int, str]] = field(default_factory=list)
    claims: list[tuple[int, frozenset]] = field(default_factory=list)
    told: list[tuple[int, bool]] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)  # names of methods that raise
    fenced: set[int] = field(default_factory=set)
    most: int = 1000  # works that one claim brings

    async def claim(self, wanted, holding):
        self._check("claim")
        self.claims.append((wanted, holding))
        await asyncio.sleep(0)
        given = []
        while self.waiting and len(given) < self.most and sum(one.left for one in given) < wanted:
            given.append(self.waiting.popleft())
        other = next((one for one in self.waiting if one.owner not in holding), None)
        if other is not None and not given:
            self.waiting.remove(other)
            given.append(other)
        return given

    async def record(self, work, results, finished):
        await asyncio.sleep(0)
        self._check("record")
        if work.key in self.fenced:
            return False
        known = self.recorded.setdefault(work.key, [])
        seen = {result.entry.index for result in known}
        assert not seen & {result.entry.index for result in results}, "a result came twice"
        known.extend(results)
        self.commits += 1
        if finished:
            assert work.key not in self.finished
            self.finished.append(work.key)
        return True

    async def release(self, work):
        self._check("release")
        assert work.key not in self.finished
        self.released.append(work)

    async def calling(self, work, *, begun):
        self._check("calling")
        self.told.append((work.key, begun))
        return work.key not in self.fenced

    async def pause(self, target, reason):
        self._check("pause")
        self.paused.append((target.key, reason))

    def _check(self, name):
        if name in self.failing:
            raise OSError(f"{name}: the database is away")

    @property
    def results(self) -> list[Result]:
        return [result for results in self.recorded.values() for result in results]

    @property
    def lines(self) -> list[dict]:
        return [json.loads(result.line) for result in self.results]


def source(*works) -> Memory:
    return Memory(deque(works))


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[asyncio.Task]:
    """The engine's run as a task, which is over, without an error, when the block ends."""
    task = asyncio.create_task(engine.run())
    try:
        yield task
        await asyncio.wait_for(task, SECONDS)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def run(source, transport, **changes) -> Engine:
    engine = Engine(source, transport, options(**changes))
    await asyncio.wait_for(engine.run(), SECONDS)
    return engine
