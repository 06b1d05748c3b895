"""What sending the lines of a file costs without a service: one client, one loop, no results kept. A process of `line`.

Prints CPU seconds for all lines, connecting included, starting Python and reading the file left out.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import openai
import uvloop

from batches.executor.aiohttp_transport import AiohttpTransport
from batches.executor.http_transport import HttpTransport

TRANSPORTS = {"http": HttpTransport, "aiohttp": AiohttpTransport}
HEADERS = {"content-type": "application/json", "accept": "application/json"}
CONCURRENCY = 512


class Line(msgspec.Struct):
    body: msgspec.Raw


async def by_transport(kind: str, url: str, bodies: list[bytes]) -> float:
    """The bare loop: as many callers as calls in flight, each takes the next body."""
    transport = TRANSPORTS[kind](max_bytes=1 << 20)
    address, headers = f"{url}/chat/completions", HEADERS | {"accept-encoding": "identity"}
    waiting = iter(enumerate(bodies))

    async def caller(waiting: Iterator[tuple[int, bytes]]) -> None:
        for number, body in waiting:
            answer = await transport.post(address, headers, body, 60, f"bare:{number}")
            assert answer.status == 200, answer

    before = time.process_time()
    await asyncio.gather(*(caller(waiting) for _ in range(CONCURRENCY)))
    spent = time.process_time() - before
    await transport.close()
    return spent


async def by_sdk(url: str, bodies: list[bytes]) -> float:
    """What people write: AsyncOpenAI, a semaphore, gather."""
    client = openai.AsyncOpenAI(base_url=url, api_key="none")
    room = asyncio.Semaphore(CONCURRENCY)
    requests = [json.loads(body) for body in bodies]

    async def one(request: dict[str, object]) -> None:
        async with room:
            create: Callable[..., Awaitable[object]] = client.chat.completions.create
            await create(**request)

    before = time.process_time()
    await asyncio.gather(*(one(request) for request in requests))
    spent = time.process_time() - before
    await client.close()
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=[*TRANSPORTS, "sdk"])
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    parser.add_argument("lines", type=int)
    options = parser.parse_args()
    decoder = msgspec.json.Decoder(Line)
    lines = options.file.read_bytes().splitlines()[: options.lines]
    bodies = [bytes(decoder.decode(line).body) for line in lines]
    if options.client == "sdk":
        spent = uvloop.run(by_sdk(options.url, bodies))
    else:
        spent = uvloop.run(by_transport(options.client, options.url, bodies))
    json.dump(spent, sys.stdout)


if __name__ == "__main__":
    main()
