"""A server on loopback that does as its handler does and counts connections; and transports to call it with."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from batches.executor.transport import Transport
from tests.batches.executor.scripted import reply

GOOD = reply(b"{}")
CAP = 1000  # bytes of an answer's body

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Listener:
    address: str = ""  # host:port
    accepted: int = 0
    open: int = 0


@asynccontextmanager
async def listening(handler: Handler, tls=None) -> AsyncIterator[Listener]:
    """Run `handler(reader, writer)` for each connection, and close it when the handler is done."""
    listener = Listener()
    tasks = set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        listener.accepted += 1
        listener.open += 1
        try:
            with suppress(asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
                await handler(reader, writer)
        finally:
            listener.open -= 1
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, backlog=1024, limit=1 << 24)
    listener.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield listener
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
    return head, await reader.readexactly(int(length))


def endless(answer: bytes = GOOD, after: float = 0) -> Handler:
    """Return a handler that answers every request of a connection, each after so many seconds."""

    async def answering(reader, writer):
        while True:
            await read_request(reader)
            await asyncio.sleep(after)
            writer.write(answer)

    return answering


async def silent(reader, writer):
    """Read until the caller hangs up."""
    while await reader.read(1 << 16):
        pass


def resetting(sent: bytes) -> Handler:
    """Return a handler that answers with `sent`, then resets the connection (RST, not FIN)."""

    async def reset(reader, writer):
        await read_request(reader)
        writer.write(sent)
        await asyncio.sleep(0.02)  # so that the reset does not overtake what was sent
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    return reset


@asynccontextmanager
async def made(kind: type[Transport], **changes) -> AsyncIterator[Transport]:
    """A transport, closed when the block ends."""
    http = kind(**{"max_bytes": CAP, **changes})
    try:
        yield http
    finally:
        await http.close()
