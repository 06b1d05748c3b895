"""The one way to an upstream: send a body, get the whole answer or a TransportError that says what kind of failure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class Answer(Struct, frozen=True):
    """An HTTP answer that arrived whole. Redirects (3xx) are answers too; nobody follows them."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class Kind(StrEnum):
    UNREACHABLE = "unreachable"  # name, connection or TLS failed: the upstream saw no request
    BROKEN = "broken"  # the connection broke, or what came was not a whole HTTP answer
    TIMEOUT = "timeout"  # the total deadline of the call passed
    TOO_LARGE = "too_large"  # the body passed the cap
    ENCODED = "encoded"  # a Content-Encoding that was not asked for


class TransportError(Exception):
    """No whole answer arrived."""

    def __init__(self, kind: Kind, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else str(kind))
        self.kind = kind


class Transport(Protocol):
    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout: float,  # noqa: ASYNC109 - one deadline, kept by the client itself, costs less than a scope
        request_id: str = "",
    ) -> Answer:
        """Return the whole answer within `timeout` seconds, counted from the call to the last byte.

        `body` goes out byte for byte. `headers` is the whole set, beside Host, Content-Length and, where there is
        a `request_id`, X-Request-ID; once given it is never changed, so that calls which give the same one again
        need not read it again. Cancelling closes the call's connection.

        Raises:
            TransportError: and nothing else.
        """

    async def get(
        self,
        url: str,
        headers: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - as above
    ) -> Answer:
        """The same without a body: what is asked of an upstream that is tried."""

    async def close(self) -> None:
        """Close every connection."""
