"""Transport on aiohttp."""

from collections.abc import Mapping

import aiohttp

from batches.executor.transport import Answer, Kind, TransportError

# uvicorn, and with it many model servers, drops an idle connection after 5 s: be the first to let go.
KEEPALIVE_SECONDS = 4
AUTOMATIC_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class AiohttpTransport:
    """A Transport. Make it inside the running loop.

    connect_seconds: for name, connection and TLS together.
    proxy: an http:// address that every call goes through; https upstreams by CONNECT.

    No cookies, no proxies from the environment, no redirects, no limit on connections: the engine counts calls.
    """

    def __init__(self, *, max_bytes: int, connect_seconds: float = 10, proxy: str = "") -> None:
        self._max_bytes = max_bytes
        self._proxy = proxy or None
        self._connect_seconds = connect_seconds
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=AUTOMATIC_HEADERS,
            auto_decompress=False,
            trust_env=False,
        )

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout: float,  # noqa: ASYNC109 - one deadline, kept by the client itself, costs less than a scope
        request_id: str = "",
    ) -> Answer:
        if request_id:
            headers = {**headers, "x-request-id": request_id}
        return await self._exchange("POST", url, headers, body, timeout)

    async def get(
        self,
        url: str,
        headers: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - as above
    ) -> Answer:
        return await self._exchange("GET", url, headers, None, timeout)

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> Answer:
        try:
            async with self._session.request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                proxy=self._proxy,
                timeout=aiohttp.ClientTimeout(total=seconds, connect=self._connect_seconds),
            ) as response:
                answer = await self._read(response)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise TransportError(_kind(error), type(error).__name__) from error
        return answer

    async def close(self) -> None:
        await self._session.close()

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        """Leaving the block with bytes unread closes the connection, so refusing early is safe."""
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise TransportError(Kind.ENCODED)
        if (response.content_length or 0) > self._max_bytes:
            raise TransportError(Kind.TOO_LARGE)
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > self._max_bytes:
                raise TransportError(Kind.TOO_LARGE)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, bytes(body))


def _kind(error: Exception) -> Kind:
    # A connect timeout is a TimeoutError too, and a name that is no URL can never be reached.
    if isinstance(
        error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL
    ):
        return Kind.UNREACHABLE
    if isinstance(error, TimeoutError):
        return Kind.TIMEOUT
    return Kind.BROKEN
