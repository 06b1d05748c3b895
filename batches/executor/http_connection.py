"""One connection to an upstream, one call at a time."""

import asyncio
from typing import cast

from batches.executor.http_message import Reader
from batches.executor.transport import Answer, Kind, TransportError

TOGETHER = 16  # requests at most, so that slots are not empty while many answers are seen to
PIECE_BYTES = 64 * 1024  # of a long body, written when the one before has nearly left


class Outbox:
    """Sends the requests of one step of the loop together, at its end or when there are enough of them.

    Every look into the kernel leaves the processor's caches and predictions cold: between a request and the next one
    that cost a fifth of what a line costs.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[Connection] = []

    def put(self, connection: "Connection") -> None:
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(connection)
        if len(self._waiting) == TOGETHER:
            self._send()

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            connection.send_now()


class Connection(asyncio.Protocol):
    """Carries a call, then the next.

    reusable: the last answer is whole, and nothing speaks against another call.
    deadline, idle_since: by the loop's clock; kept here for the owner.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, outbox: Outbox, max_bytes: int) -> None:
        self.closed = False
        self.reusable = False
        self.deadline = 0.0
        self.idle_since = 0.0
        self._loop = loop
        self._outbox = outbox
        self._max_bytes = max_bytes
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[Answer] | None = None  # set during a call, with its reader
        self._reader: Reader | None = None
        self._request = b""  # in the outbox
        self._unsent = memoryview(b"")
        self._paused = False

    def send(self, head: bytes, body: bytes) -> asyncio.Future[Answer]:
        """Send a request at the end of the loop's step; the future brings its answer, or a TransportError.

        Raises:
            TransportError: BROKEN; the connection has closed.
        """
        if self.closed:
            raise TransportError(Kind.BROKEN, "the connection closed before the request")
        self.reusable = False
        self._reader = Reader(self._max_bytes)
        self._answer = self._loop.create_future()
        if len(body) <= PIECE_BYTES:
            self._request = head + body
        else:
            self._request, self._unsent = head, memoryview(body)
        self._outbox.put(self)
        return self._answer

    def send_now(self) -> None:
        """Send what waits in the outbox, if the call has not ended meanwhile."""
        request, self._request = self._request, b""
        if request and not self.closed:
            self._transport.write(request)
            self._send_more()

    def fail(self, error: TransportError) -> None:
        """End the call with an error, and the connection with it."""
        answer = self._end_call()
        self.abort()
        if answer is not None and not answer.done():  # done: its caller has been cancelled
            answer.set_exception(error)

    def abort(self) -> None:
        """Close at once; what is not sent is dropped."""
        if not self.closed:
            self.closed = True
            self.reusable = False
            self._request, self._unsent = b"", memoryview(b"")
            self._end_call()
            self._transport.abort()

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but class

    def data_received(self, data: bytes) -> None:
        if self._reader is None:
            self.abort()  # nobody asked
            return
        try:
            answer = self._reader.feed(data)
        except TransportError as error:
            self.fail(error)
        else:
            if answer is not None:
                self._succeed(answer, keep=self._reader.keep)

    def eof_received(self) -> None:
        self._end()  # now: to close properly, the loop would first send what the upstream no longer reads

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self._end()
        else:
            self.fail(TransportError(Kind.BROKEN, type(exc).__name__))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if not self._request:
            self._send_more()

    # Parts of a call

    def _send_more(self) -> None:
        while self._unsent and not self._paused and not self._transport.is_closing():
            piece, self._unsent = self._unsent[:PIECE_BYTES], self._unsent[PIECE_BYTES:]
            self._transport.write(piece)

    def _succeed(self, answer: Answer, *, keep: bool) -> None:
        future = self._end_call()
        if keep and not self._request and not self._unsent:
            self.reusable = True
        else:
            self.abort()
        if future is not None and not future.done():
            future.set_result(answer)

    def _end(self) -> None:
        """The upstream has closed: this may be how the answer ends, and is the end of the connection."""
        if self._reader is not None:
            try:
                self._succeed(self._reader.end(), keep=False)
            except TransportError as error:
                self.fail(error)
        self.abort()

    def _end_call(self) -> asyncio.Future[Answer] | None:
        """Keep nothing of the call, which may be megabytes; return its future."""
        if self._reader is not None:
            self._reader.release()
            self._reader = None
        answer, self._answer = self._answer, None
        return answer
