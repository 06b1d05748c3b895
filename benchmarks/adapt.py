"""Goodput of the engine at its own pace, beside that at the best fixed concurrency: `python -m benchmarks.adapt`.

Each scenario runs the real engine and transport against the simulator, from a cold start, twice at the same
time: at its own pace, and at a fixed concurrency that is right for that upstream and that nobody would know.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import uvloop
from rich.console import Console
from rich.table import Table

from batches.executor import pool
from batches.executor.engine import Engine, Options, Target, Work
from batches.executor.http_transport import HttpTransport
from batches.executor.lines import Request, Result
from batches.executor.pace import Pace
from benchmarks.transport import free_port, wait_for

ENDLESS = 1_000_000  # lines in a queue
GOODPUT_AT_LEAST = 0.85  # of the fixed one's
REFUSED_AT_MOST = 0.03  # of all answers
SHARD_LINES = 1000


@dataclass(frozen=True)
class Scenario:
    name: str
    fixed: int  # the best fixed concurrency
    settings: dict[str, object]  # of the simulator
    changes: list[tuple[float, dict[str, object]]] = field(default_factory=list)  # at a part of it


def halves(capacity: int) -> list[tuple[float, dict[str, object]]]:
    return [(1 / 3, {"capacity": capacity // 2}), (2 / 3, {"capacity": capacity})]


SLOW, QUICK = "lognormal:0.5,0.6", "lognormal:0.25,0.6"
LANGUAGE_MODEL = {"latency": SLOW, "tokens": 100, "proportional": True}
SCENARIOS = [
    Scenario("knee at 100, then a queue of 64", 100, {"capacity": 100, "queue": 64}),
    Scenario("4 slots, 4 queued", 8, {"capacity": 4, "queue": 4, "latency": QUICK}),
    Scenario("100 slots, a queue without end", 100, {"capacity": 100, "queue": ENDLESS}),
    Scenario("429 beyond 100", 100, {"capacity": 100}),
    Scenario("429 beyond 100, Retry-After 5", 100, {"capacity": 100, "retry_after": 5}),
    Scenario(
        "100, 50, 100 slots, a queue of 64",
        100,
        {"capacity": 100, "queue": 64, "latency": QUICK},
        halves(100),
    ),
    Scenario("429 beyond 100, 50, 100", 100, {"capacity": 100, "latency": QUICK}, halves(100)),
]


# One engine


class Fixed(Pace):
    """A limit that nothing changes."""

    def __init__(self, calls: int, most: int, **options: float) -> None:
        super().__init__(most, **{**options, "learnt": calls})

    def refused(self, number: int, now: float, after: float | None) -> None:
        pass

    def ended(self, number: int, now: float) -> None:
        self.in_flight -= 1


class Endless:
    """A Source of lines without end, which counts the good results."""

    def __init__(self, target: Target) -> None:
        self.completed = 0
        self._target = target
        self._works = 0

    async def claim(self, wanted: int, holding: frozenset[object]) -> list[Work]:
        if holding and wanted < 1:
            return []
        self._works += 1
        requests = deque(
            Request(index, index + 1, b'"%d"' % index, body(self._works, index))
            for index in range(SHARD_LINES)
        )
        return [Work(self._works, "b", "o", time.monotonic() + 3600, self._target, requests)]

    async def record(self, work: Work, results: list[Result], finished: bool) -> bool:
        self.completed += sum(result.entry.completed for result in results)
        return True

    async def release(self, work: Work) -> None:
        pass

    async def calling(self, work: Work, *, begun: bool) -> bool:
        return True

    async def pause(self, target: Target, reason: str) -> None:
        raise RuntimeError(reason)


def body(work: int, index: int) -> bytes:
    content = f"line {index} of shard {work}"
    message = {"role": "user", "content": content}
    return json.dumps({"model": "simulated", "messages": [message]}).encode()


async def run_engine(url: str, seconds: float) -> int:
    """Return how many lines were completed in so many seconds."""
    source = Endless(Target(1, f"{url}/v1/chat/completions", {}, 60))
    transport = HttpTransport(max_bytes=1 << 20)
    engine = Engine(source, transport, Options())
    asyncio.get_running_loop().call_later(seconds, engine.stop, 0)
    await engine.run()
    await transport.close()
    return source.completed


# A scenario


def run_scenario(scenario: Scenario, seconds: float) -> dict[str, dict[str, float]]:
    """Run it at the engine's own pace and at the fixed concurrency, at the same time."""
    found = {}
    with ExitStack() as stack:
        ports = {"own": free_port(), "fixed": free_port()}
        for port in ports.values():
            command = [sys.executable, "manage.py", "simulate_upstream", "--port", str(port)]
            simulator = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            stack.callback(simulator.wait, 20)
            stack.callback(simulator.terminate)
        for port in ports.values():
            wait_for(port)
            ask(port, "/settings", {**LANGUAGE_MODEL, **scenario.settings})
        command = [sys.executable, "-m", "benchmarks.adapt", "--seconds", str(seconds), "--client"]
        engines = {
            name: subprocess.Popen(
                [*command, str(port), str(scenario.fixed if name == "fixed" else 0)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for name, port in ports.items()
        }
        began = time.monotonic()
        for part, change in scenario.changes:
            time.sleep(max(0, began + part * seconds - time.monotonic()))
            for port in ports.values():
                ask(port, "/settings", change)
        for name, engine in engines.items():
            output, _ = engine.communicate(timeout=seconds + 60)
            by_status = ask(ports[name], "/stats")["by_status"]
            refused = by_status.get("429", 0)
            answers = refused + by_status.get("200", 0)
            found[name] = {
                "rate": int(output) / seconds,
                "refused": refused / answers,
            }
    return found


def ask(port: int, path: str, content: object = None) -> dict:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if content is not None:
        request.data = json.dumps(content).encode()
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def run(scenarios: list[Scenario], seconds: float) -> tuple[Table, bool]:
    """Return the table, and whether every scenario is within its bounds."""
    table = Table(
        title=f"Goodput, {seconds:.0f} s from a cold start; latency of a call {SLOW} s or {QUICK} s",
        caption=f"bounds: {GOODPUT_AT_LEAST:.0%} of fixed, 429s under {REFUSED_AT_MOST:.0%}; "
        f"load {os.getloadavg()[0]:.1f}",
    )
    for column in (
        "upstream",
        "own, lines/s",
        "fixed, lines/s",
        "own / fixed",
        "429s",
        "429s, fixed",
    ):
        table.add_column(column, justify="left" if column == "upstream" else "right")
    good = True
    for scenario in scenarios:
        found = run_scenario(scenario, seconds)
        own, fixed = found["own"], found["fixed"]
        ratio = own["rate"] / fixed["rate"]
        good = good and ratio >= GOODPUT_AT_LEAST and own["refused"] < REFUSED_AT_MOST
        table.add_row(
            scenario.name,
            f"{own['rate']:.1f}",
            f"{fixed['rate']:.1f} ({scenario.fixed})",
            f"{ratio:.2f}",
            f"{own['refused']:.1%}",
            f"{fixed['refused']:.1%}",
        )
    return table, good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40, help="of each scenario")
    parser.add_argument("--only", default="", help="scenarios whose name has this in it")
    parser.add_argument("--client", nargs=2, type=int, help=argparse.SUPPRESS)  # one engine
    options = parser.parse_args()
    if options.client:
        port, fixed = options.client
        if fixed:
            pool.Pace = partial(Fixed, fixed)
        print(uvloop.run(run_engine(f"http://127.0.0.1:{port}", options.seconds)))
        return
    scenarios = [scenario for scenario in SCENARIOS if options.only in scenario.name]
    table, good = run(scenarios, options.seconds)
    Console().print(table)
    sys.exit(not good)


if __name__ == "__main__":
    main()
