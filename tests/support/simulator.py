"""A simulated upstream in a thread of the test's own process."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from simulator.options import Options
from simulator.server import Server
from simulator.simulator import Simulator


@contextmanager
def simulating(**options: Any) -> Iterator[str]:
    """Yield the base URL of a simulator that answers until the block ends. Options as `POST /settings` takes them."""
    loop = asyncio.new_event_loop()
    server = Server(Simulator(Options().changed(options), ""))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(20)
    try:
        yield f"http://127.0.0.1:{server.port}/v1"
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()
