"""HTTP/1.1 on asyncio: keep-alive, pipelining, bodies with a length or in pieces. No TLS, loopback in mind."""

import asyncio
import signal
from collections import deque
from http import HTTPStatus
from typing import cast

import httptools
import uvloop

from simulator import answers
from simulator.simulator import CUT_OFF, Call, Reply, Request, Simulator

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class Connection(asyncio.Protocol):
    """One caller's connection. Answers leave in the order of their requests."""

    def __init__(self, simulator: Simulator, connections: set["Connection"]) -> None:
        self._simulator = simulator
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[tuple[Request, bool]] = deque()  # and whether to keep the connection
        self._call: Call | None = None
        self._busy = False
        self._transport: asyncio.Transport

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but class
        self._connections.add(self)

    def connection_lost(self, reason: Exception | None) -> None:
        self._connections.discard(self)
        self._requests.clear()
        if self._call:
            self._simulator.abandon(self._call)
            self._call = None

    def data_received(self, received: bytes) -> None:
        try:
            self._parser.feed_data(received)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            body = answers.error("This is not an HTTP/1.1 request.", "invalid_request_error")
            self._write(Reply(400, body), "", keep=False)

    def close(self) -> None:
        self._transport.abort()

    # httptools' side

    def on_message_begin(self) -> None:
        self._url = self._request_id = b""
        self._body: list[bytes] = []

    def on_url(self, piece: bytes) -> None:
        self._url += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"x-request-id":
            self._request_id = value[:128]
        elif name == b"expect" and value.lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, piece: bytes) -> None:
        self._body.append(piece)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        path = self._url.partition(b"?")[0].decode("latin-1")
        request_id = self._request_id.decode("latin-1")
        request = Request(method, path, request_id, b"".join(self._body))
        self._requests.append((request, self._parser.should_keep_alive()))
        self._next()

    # Answers

    def _next(self) -> None:
        while self._requests and not self._busy:
            request, keep = self._requests.popleft()
            self._busy = True

            def send(reply: Reply, request_id: str = request.request_id, keep: bool = keep) -> None:
                self._busy = False
                pending, self._call = self._call, None
                self._write(reply, request_id, keep=keep)
                if pending:  # else this very loop goes on
                    self._next()

            self._call = self._simulator.take(request, send)

    def _write(self, reply: Reply, request_id: str, *, keep: bool) -> None:
        if reply.status == CUT_OFF:
            self._transport.abort()
            return
        lines = [
            b"HTTP/1.1 %d %s" % (reply.status, _REASONS[reply.status]),
            b"content-type: application/json",
            b"content-length: %d" % len(reply.body),
            b"x-simulated: true",
        ]
        if request_id:
            lines.append(b"x-request-id: " + request_id.encode("latin-1"))
        if reply.retry_after is not None:
            lines.append(b"retry-after: %g" % reply.retry_after)
        if not keep:
            lines.append(b"connection: close")
        self._transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + reply.body)
        if not keep:
            self._transport.close()


class Server:
    """A simulator that listens; `port` is the real one also when 0 was asked for."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.port = 0
        self._connections: set[Connection] = set()
        self._listening: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; calls are answered when this returns.

        Raises:
            OSError: the address is taken or not ours.
        """
        loop = asyncio.get_running_loop()

        def connect() -> Connection:
            return Connection(self.simulator, self._connections)

        self._listening = await loop.create_server(connect, host, port, backlog=4096)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection; calls in flight end without an answer."""
        if self._listening:
            self._listening.close()
        for connection in tuple(self._connections):
            connection.close()
        await asyncio.sleep(0)  # connection_lost runs on the next turn of the loop


def run(simulator: Simulator, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; says on standard output where it listens."""
    uvloop.run(_serve(simulator, host, port))


async def _serve(simulator: Simulator, host: str, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = Server(simulator)
    await server.start(host, port)
    print(f"simulated upstream on http://{host}:{server.port}/v1", flush=True)  # noqa: T201 - its interface
    await stopped.wait()
    await server.stop()
