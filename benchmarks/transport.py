"""CPU that one call costs in each transport, beside wrk's in the same rounds: `python -m benchmarks.transport`.

The upstream is nginx with a fixed answer, or the simulator where there is no nginx (then the upstream is the
slowest part, which changes little: only the client's own CPU is counted). Every client is a process of its own.
"""

import argparse
import asyncio
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from batches.executor.aiohttp_transport import AiohttpTransport
from batches.executor.http_transport import HttpTransport

TRANSPORTS = {"http": HttpTransport, "aiohttp": AiohttpTransport}
REQUEST_BYTES = 3900
ANSWER_BYTES = 1176
HEADERS = {
    "authorization": "Bearer sk-benchmark",
    "content-type": "application/json",
    "accept": "application/json",
    "accept-encoding": "identity",
}

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}/body;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ default_type application/json; return 200 '{answer}'; }}
    }}
}}
"""
WRK = """
wrk.method = "POST"
wrk.body = '{body}'
wrk.headers["content-type"] = "application/json"
"""


def padded(text: str, size: int) -> str:
    return text % ("x" * (size - len(text) + 2))


BODY = padded('{"model":"simulated","messages":[{"role":"user","content":"%s"}]}', REQUEST_BYTES)
ANSWER = padded('{"choices":[{"message":{"role":"assistant","content":"%s"}}]}', ANSWER_BYTES)


# One client


async def call(kind: str, url: str, calls: int, concurrency: int) -> float:
    """Make `calls` calls, `concurrency` at a time; return the CPU seconds they took, connecting left out."""
    transport = TRANSPORTS[kind](max_bytes=1 << 20)
    body = BODY.encode()
    numbers = iter(range(calls))

    async def caller(numbers: Iterator[int]) -> None:
        for number in numbers:
            answer = await transport.post(url, HEADERS, body, 60, f"b:{number}")
            assert answer.status == 200, answer

    await asyncio.gather(*(caller(iter([0])) for _ in range(concurrency)))
    before = time.process_time()
    await asyncio.gather(*(caller(numbers) for _ in range(concurrency)))
    spent = time.process_time() - before
    await transport.close()
    return spent


def measure(kind: str, url: str, calls: int, concurrency: int) -> float:
    """Return microseconds of CPU for one call."""
    command = [sys.executable, "-m", "benchmarks.transport", "--client", kind, url]
    done = subprocess.run(
        [*command, str(calls), str(concurrency)], check=True, capture_output=True, text=True
    )
    return float(done.stdout) / calls * 1e6


def measure_wrk(url: str, seconds: int, concurrency: int, folder: Path) -> float:
    script = folder / "post.lua"
    script.write_text(WRK.format(body=BODY))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        ["wrk", "-t1", f"-c{concurrency}", f"-d{seconds}s", "-s", script, url],
        check=True,
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"(\d+) requests in", done.stdout)
    assert found, done.stdout
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent / int(found[1]) * 1e6


# The upstream


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def upstream(folder: Path) -> Iterator[tuple[str, str]]:
    """Run a server; give its name and its URL."""
    port = free_port()
    nginx = shutil.which("nginx")
    if nginx:
        configuration = folder / "nginx.conf"
        configuration.write_text(NGINX.format(folder=folder, port=port, answer=ANSWER))
        command = [nginx, "-c", str(configuration)]
    else:
        command = [sys.executable, "manage.py", "simulate_upstream", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        name = "nginx" if nginx else "the simulator"
        yield name, f"http://127.0.0.1:{port}/v1/chat/completions"
    finally:
        process.terminate()
        process.wait(20)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise RuntimeError("The upstream does not listen.")


# The table


def run(calls: int, rounds: int, levels: list[int]) -> Table:
    clients = ["http", "aiohttp"] + (["wrk"] if shutil.which("wrk") else [])
    with tempfile.TemporaryDirectory() as name, upstream(Path(name)) as (server, url):
        found = {(client, level): [] for client in clients for level in levels}
        for _ in range(rounds):
            for client, level in found:
                found[client, level].append(
                    measure_wrk(url, 3, level, Path(name))
                    if client == "wrk"
                    else measure(client, url, calls if level > 1 else calls // 4, level)
                )
    return table(found, clients, levels, server)


def table(
    found: dict[tuple[str, int], list[float]], clients: list[str], levels: list[int], server: str
) -> Table:
    reference = clients[-1]
    made = Table(
        title=f"CPU for one call, in microseconds, and as a multiple of {reference}'s; upstream: {server}",
        caption=f"POST {REQUEST_BYTES} bytes, answer {ANSWER_BYTES}; medians; load {os.getloadavg()[0]:.1f}",
    )
    made.add_column("client")
    for level in levels:
        made.add_column(f"{level} at a time", justify="right")
    for client in clients:
        cells = []
        for level in levels:
            own, other = found[client, level], found[reference, level]
            ratio = statistics.median(a / b for a, b in zip(own, other, strict=True))
            cells.append(f"{statistics.median(own):.1f}  x{ratio:.1f}")
        made.add_row(client, *cells)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000, help="of each client, at each level")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 64, 512])
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)  # a process of `measure`
    options = parser.parse_args()
    if options.client:
        kind, url, calls, concurrency = options.client
        print(uvloop.run(call(kind, url, int(calls), int(concurrency))))
    else:
        Console().print(run(options.calls, options.rounds, options.concurrency))


if __name__ == "__main__":
    main()
