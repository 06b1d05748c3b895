"""Transport of our own: HTTP/1.1 over kept connections, at a few microseconds a call beyond what the kernel takes."""

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import Mapping
from functools import cached_property, partial

from batches.executor.http_connection import Connection, Outbox
from batches.executor.http_message import Origin, request_head
from batches.executor.transport import Answer, Kind, TransportError

# uvicorn, and with it many model servers, drops an idle connection after 5 s: be the first to let go.
KEEPALIVE_SECONDS = 4
SWEEP_SECONDS = 0.05  # how late a deadline may be noticed
MAX_HEADS = 256  # kept heads of requests; an upstream has one for each endpoint


class HttpTransport:
    """A Transport. Make it inside the running loop.

    max_bytes: the most that an answer's body may have.
    connect_seconds: for name, connection and TLS together. A call whose time is up before it has a connection
        was UNREACHABLE: the upstream saw nothing of it.
    ca_file: PEM certificates to trust beside the system's.

    No cookies, no proxies, no redirects, no limit on connections: the engine counts calls.
    """

    def __init__(
        self, *, max_bytes: int, connect_seconds: float = 10, ca_file: str | None = None
    ) -> None:
        self._max_bytes = max_bytes
        self._connect_seconds = connect_seconds
        self._ca_file = ca_file
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(self._loop)
        # By URL and the headers' identity, which the kept headers hold on to.
        self._heads: dict[tuple[str, int], tuple[Mapping[str, str], Origin, bytes]] = {}
        self._idle: defaultdict[Origin, deque[Connection]] = defaultdict(deque)  # oldest first
        self._live: set[Connection] = set()  # those with a call
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout: float,  # noqa: ASYNC109 - one deadline, kept by the client itself, costs less than a scope
        request_id: str = "",
    ) -> Answer:
        deadline = self._loop.time() + timeout
        origin, head = self._head(url, headers, request_id, len(body))
        return await self._exchange(origin, head, body, deadline)

    async def get(
        self,
        url: str,
        headers: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - as above
    ) -> Answer:
        deadline = self._loop.time() + timeout
        origin, head = request_head(url, headers, "GET")
        return await self._exchange(origin, head + b"\r\n", b"", deadline)

    async def _exchange(self, origin: Origin, head: bytes, body: bytes, deadline: float) -> Answer:
        connection = self._take(origin) or await self._connect(origin, deadline)
        connection.deadline = deadline
        self._live.add(connection)
        try:
            return await connection.send(head, body)
        finally:
            self._live.discard(connection)
            self._put(origin, connection)

    async def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for connection in self._live:
            connection.fail(TransportError(Kind.BROKEN, "the transport was closed"))
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # the loop closes the sockets on its next round

    def _head(
        self, url: str, headers: Mapping[str, str], request_id: str, length: int
    ) -> tuple[Origin, bytes]:
        known = self._heads.get((url, id(headers)))
        if known is None:
            if len(self._heads) >= MAX_HEADS:
                self._heads.clear()
            known = headers, *request_head(url, headers)
            self._heads[url, id(headers)] = known
        _, origin, head = known
        if not request_id:
            return origin, b"%bContent-Length: %d\r\n\r\n" % (head, length)
        if not (request_id.isascii() and request_id.isprintable()):
            raise TransportError(Kind.UNREACHABLE, "the request id holds what cannot be sent")
        name = request_id.encode()
        return origin, b"%bx-request-id: %b\r\nContent-Length: %d\r\n\r\n" % (head, name, length)

    # Connections

    def _take(self, origin: Origin) -> Connection | None:
        """Return the connection that was used last, so that the surplus grows old and goes."""
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            if not connection.closed:
                return connection
        return None

    def _put(self, origin: Origin, connection: Connection) -> None:
        if connection.reusable and not self._closed:
            connection.idle_since = self._loop.time()
            self._idle[origin].append(connection)
        else:
            connection.abort()

    async def _connect(self, origin: Origin, deadline: float) -> Connection:
        seconds = min(self._connect_seconds, deadline - self._loop.time())
        try:
            async with asyncio.timeout(seconds):
                _, connection = await self._loop.create_connection(
                    partial(Connection, self._loop, self._outbox, self._max_bytes),
                    origin.host,
                    origin.port,
                    ssl=self._tls if origin.scheme == "https" else None,
                )
        except (OSError, UnicodeError) as error:  # TimeoutError and SSLError are OSErrors
            raise TransportError(Kind.UNREACHABLE, type(error).__name__) from error
        if self._closed:
            connection.abort()
            raise TransportError(Kind.UNREACHABLE, "the transport is closed")
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        return connection

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        if self._ca_file is not None:
            context.load_verify_locations(self._ca_file)
        return context

    def _sweep(self) -> None:
        """End the calls whose time is up, and let go of connections nobody needs."""
        now = self._loop.time()
        for connection in self._live:
            if connection.deadline <= now:
                connection.fail(TransportError(Kind.TIMEOUT))
        for idle in self._idle.values():
            while idle and (idle[0].closed or idle[0].idle_since + KEEPALIVE_SECONDS <= now):
                idle.popleft().abort()
        if self._live or any(self._idle.values()):
            self._timer = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        else:
            self._timer = None
