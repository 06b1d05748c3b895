"""A simulator on a free port of this process, and a client that talks to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from simulator.options import Options
from simulator.server import Server
from simulator.simulator import Simulator

StartSimulator = Callable[..., Awaitable["Client"]]


class Client:
    """Calls one simulator."""

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.url = f"http://127.0.0.1:{server.port}"
        self._session = session

    async def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, Any], aiohttp.ClientResponse]:
        """Status, JSON body and the response; bytes go out as they are, anything else as JSON."""
        sent = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self._session.request(
            method, self.url + path, headers=headers, **sent
        ) as answer:
            return answer.status, await answer.json(), answer

    async def chat(self, content: str, **headers: str) -> tuple[int, dict[str, Any]]:
        body = {"model": "m", "messages": [{"role": "user", "content": content}]}
        status, answer, _ = await self.call("POST", "/v1/chat/completions", body, **headers)
        return status, answer

    async def stats(self) -> dict[str, Any]:
        return (await self.call("GET", "/stats"))[1]

    async def set(self, **options: Any) -> int:
        return (await self.call("POST", "/settings", options))[0]


@pytest.fixture
async def start_simulator() -> AsyncIterator[StartSimulator]:
    """Starts a simulator by its options (`log` names its call log); all end with the test."""
    servers: list[Server] = []
    async with aiohttp.ClientSession() as session:

        async def start(log: str = "", **options: Any) -> Client:
            server = Server(Simulator(Options().changed(options), log))
            await server.start()
            servers.append(server)
            return Client(server, session)

        yield start
        for server in servers:
            await server.stop()
