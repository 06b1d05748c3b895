"""HTTP/1.1 messages as bytes: the head of a request, and an answer read from whatever pieces it comes in."""

import re
from collections.abc import Mapping
from io import BytesIO
from typing import NamedTuple
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from batches.executor.transport import Answer, Kind, TransportError

MAX_HEAD_BYTES = 64 * 1024  # interim answers included
MAX_FRAMING = 8  # bytes received for each byte of body; one byte to a chunk makes 6
BODILESS = frozenset({204, 304})

_ADDRESS = re.compile(r"[!-~]+")  # printable ASCII
_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*")
# Lines of the head of a final answer that no two parsers could read differently.
_PLAIN_STATUS = re.compile(rb"HTTP/1\.1 ([2-9][0-9]{2})(?: [\t -~\x80-\xff]*)?")
_PLAIN_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)")
MAX_KNOWN, MAX_KNOWN_BYTES = 1024, 256  # lines kept, and how long each may be


class Origin(NamedTuple):
    """What a connection leads to."""

    scheme: str  # http or https
    host: str
    port: int


def request_head(
    url: str, headers: Mapping[str, str], method: str = "POST"
) -> tuple[Origin, bytes]:
    """Return where a request to `url` goes, and its head but for what changes with each call.

    Raises:
        TransportError: UNREACHABLE; the address or a header cannot be sent as it is.
    """
    origin, host, target = _read_address(url)
    fields = [f"{name}: {value}" for name, value in headers.items()]
    if not all(map(_FIELD.fullmatch, fields)):
        raise TransportError(Kind.UNREACHABLE, "a header holds what cannot be sent")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, ""]
    return origin, "\r\n".join(lines).encode("latin-1")


def _read_address(url: str) -> tuple[Origin, str, str]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise TransportError(Kind.UNREACHABLE, "the address cannot be read") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TransportError(Kind.UNREACHABLE, "the address is not http:// or https://")
    if not _ADDRESS.fullmatch(url):
        raise TransportError(Kind.UNREACHABLE, "the address holds more than printable ASCII")
    origin = Origin(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80))
    query = f"?{parts.query}" if parts.query else ""
    return origin, parts.netloc.rpartition("@")[2], (parts.path or "/") + query


class Reader:
    """Reads one answer. However its bytes are cut into pieces, the answer is the same.

    keep: after the answer, whether its connection may carry another call.
    """

    __slots__ = ("_body", "_headers", "_left", "_max_bytes", "_parser", "_status", "keep")

    def __init__(self, max_bytes: int) -> None:
        """max_bytes: the most that the body may have."""
        self.keep = False
        self._max_bytes = max_bytes
        self._left = 0  # bytes of the body still to come
        self._parser: _Parser | None = None  # of an answer that is not of the commonest form

    def feed(self, received: bytes) -> Answer | None:
        """Take what came; return the answer once it is whole.

        Raises:
            TransportError: BROKEN, TOO_LARGE or ENCODED.
        """
        if self._left:
            return self._feed_body(received)
        if self._parser is None:
            head = _plain_head(received)
            if head is not None:
                return self._begin(*head, received)
            self._parser = _Parser(self._max_bytes)
        answer = self._parser.feed(received)
        self.keep = self._parser.keep
        return answer

    def end(self) -> Answer:
        """Return the answer that the connection's end completes.

        Raises:
            TransportError: BROKEN, since something is missing.
        """
        if self._parser is not None and self._parser.until_end:
            return self._parser.answer()
        raise TransportError(Kind.BROKEN, "the connection closed before the answer was whole")

    def release(self) -> None:
        """Nothing more will be fed."""
        if self._parser is not None:
            self._parser.release()

    def _begin(
        self, status: int, headers: dict[str, str], start: int, received: bytes
    ) -> Answer | None:
        length = int(headers["content-length"])
        _check(headers, length, self._max_bytes)
        self.keep = headers.get("connection", "keep-alive").lower() == "keep-alive"
        end = start + length
        if len(received) >= end:
            self.keep = self.keep and len(received) == end
            return Answer(status, headers, received[start:end])
        self._status, self._headers = status, headers
        self._body = BytesIO()
        self._body.write(received[start:])
        self._left = end - len(received)
        return None

    def _feed_body(self, received: bytes) -> Answer | None:
        if len(received) > self._left:
            self.keep = False
            received = received[: self._left]
        self._left -= len(received)
        self._body.write(received)
        if self._left:
            return None
        return Answer(self._status, self._headers, self._body.getvalue())


class _Fields(dict[bytes, tuple[str, str]]):
    """Header lines seen lately, read once: most of a head is the same in the next answer.

    Raises KeyError for a line that is not plain.
    """

    def __missing__(self, line: bytes) -> tuple[str, str]:
        match = _PLAIN_FIELD.fullmatch(line)
        if match is None:
            raise KeyError
        field = match[1].decode().lower(), match[2].decode("latin-1").strip(" \t")
        if len(line) <= MAX_KNOWN_BYTES:
            if len(self) >= MAX_KNOWN:
                self.clear()
            self[line] = field
        return field


_fields = _Fields()


def _plain_head(received: bytes) -> tuple[int, dict[str, str], int] | None:
    """Return status, headers and where the body begins; None for all but the commonest form of answer."""
    end = received.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
    if end < 0:
        return None
    first, *lines = received[:end].split(b"\r\n")
    match = _PLAIN_STATUS.fullmatch(first)
    try:
        headers = dict([_fields[line] for line in lines])
    except KeyError:
        return None
    length = headers.get("content-length", "")
    if (
        match is None
        or len(headers) < len(lines)  # a name came twice
        or not length.isdecimal()
        or len(length) > 15
        or "transfer-encoding" in headers
        or (status := int(match[1])) in BODILESS
    ):
        return None
    return status, headers, end + 4


def _check(headers: Mapping[str, str], length: int, max_bytes: int) -> None:
    """Refuse from the head alone what would be refused later.

    Raises:
        TransportError: ENCODED or TOO_LARGE.
    """
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise TransportError(Kind.ENCODED)
    if headers.get("transfer-encoding", "chunked").lower() != "chunked":
        raise TransportError(Kind.ENCODED)
    if length > max_bytes:
        raise TransportError(Kind.TOO_LARGE)


class _Parser:
    """Reads any answer that httptools (llhttp) takes for one.

    until_end: the head named no length, so that the connection's end completes the answer.
    """

    def __init__(self, max_bytes: int) -> None:
        self.keep = self.until_end = False
        self._max_bytes = max_bytes
        self._llhttp: HttpResponseParser | None = HttpResponseParser(self)
        self._received = 0
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body = BytesIO()
        self._size = 0
        self._in_body = self._whole = False
        self._refusal: TransportError | None = None

    def feed(self, received: bytes) -> Answer | None:
        """As Reader.feed."""
        room = len(received) if self._in_body else MAX_HEAD_BYTES - self._received
        self._parse(received[:room])
        if len(received) > room:
            if not self._in_body:
                raise TransportError(Kind.BROKEN, "the headers do not end")
            self._parse(received[room:])
        if self._whole:
            return self.answer()
        if self._received > 2 * MAX_HEAD_BYTES + MAX_FRAMING * self._size:
            raise TransportError(Kind.BROKEN, "the body is nearly all framing")
        return None

    def release(self) -> None:
        self._llhttp = None  # it holds this object's methods: a circle that would keep the body

    def answer(self) -> Answer:
        return Answer(self._status, self._headers, self._body.getvalue())

    def _parse(self, received: bytes) -> None:
        self._received += len(received)
        assert self._llhttp is not None
        try:
            self._llhttp.feed_data(received)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self._whole and self._refusal is None:
                raise TransportError(Kind.BROKEN, "not an HTTP/1.1 answer") from error
        if self._refusal is not None:
            raise self._refusal

    # What httptools calls. An exception raised here would come out as one of its own.

    def on_message_begin(self) -> None:
        if self._in_body:
            self.keep = False  # the next answer, to no request of ours
        else:
            self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # else it follows the last chunk, and means nothing to us
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip(" \t")

    def on_headers_complete(self) -> None:
        assert self._llhttp is not None
        status = self._llhttp.get_status_code()
        if self._in_body or status < 200:
            return
        self._status, self._in_body = status, True
        headers = self._headers
        if status not in BODILESS:
            self.until_end = headers.keys().isdisjoint(("content-length", "transfer-encoding"))
            try:
                _check(headers, int(headers.get("content-length") or 0), self._max_bytes)
            except TransportError as refusal:
                self._refusal = refusal

    def on_body(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._max_bytes:
            self._body.write(piece)
        elif self._refusal is None:
            self._refusal = TransportError(Kind.TOO_LARGE)

    def on_message_complete(self) -> None:
        if self._in_body and not self._whole:
            assert self._llhttp is not None
            self._whole = True
            self.keep = self._llhttp.should_keep_alive()
