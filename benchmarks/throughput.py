"""`throughput`: lines a second with a free upstream, and how much of the granted concurrency is in use with a slow one."""

import itertools
import json
import os
import statistics
import threading
import urllib.request

from benchmarks.batch import Consumer, write_input
from benchmarks.figures import Figure, Section
from benchmarks.stage import Stage, stage, start_upstream
from tools import parts
from tools.processes import free_port

ABOUT = (
    "On SQLite. Free upstream: 20,000 lines, wall time from create to the last result; every process, the upstream too, "
    "shares the machine's cores. Slow upstream: answers after 500 ms, one engine, ENGINE_CONCURRENCY 512; from "
    "the first full moment until no line is left to be called. Calls in flight as the simulator counts them, averaged "
    "from one look at it to the next, about 20 a second, and as it was at each: at one moment some answers are always on their way, "
    "and the calls that follow them."
)
FREE_LINES, SLOW_LINES = 20_000, 12_000
IN_FLIGHT, LATENCY = 512, 0.5
SAMPLE_SECONDS = 0.05


def measure(_servers: dict[str, str]) -> list[Section]:
    return [Section("throughput", ABOUT, [*_free(), *_slow()])]


def _free() -> list[Figure]:
    with stage() as place:
        start_upstream(place)
        file = write_input(place.directory / "in.jsonl", FREE_LINES)
        place.start_web()
        place.start_worker()
        consumer = Consumer(place)
        consumer.run(write_input(place.directory / "warm.jsonl", 200), 200)
        best = min(consumer.run(file, FREE_LINES).seconds for _ in range(2))
    rate = FREE_LINES / best
    name = f"free upstream, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return [Figure(name, rate, "lines/s", "the target", 5000, ">= 5,000", rate >= 5000)]


def _slow() -> list[Figure]:
    with stage(ENGINE_WORKERS="1", ENGINE_CONCURRENCY=str(IN_FLIGHT)) as place:
        parts.start_simulator(place.children, free_port(), "--latency", str(LATENCY))
        place.start_web()
        place.start_worker()
        consumer = Consumer(place)
        consumer.run(write_input(place.directory / "warm.jsonl", 200), 200)
        file_id = consumer.upload(write_input(place.directory / "in.jsonl", SLOW_LINES))
        watch = Watch(place)
        watch.start()
        batch = consumer.create(file_id)
        consumer.wait(batch["id"], 0.5)
        watch.over.set()
        watch.join()
    spans, moments = watch.used()
    shares = [span / IN_FLIGHT for span in spans]
    mean, least = statistics.mean(shares), min(shares)
    name, enough = "in flight with 500 ms latency", ">= 95 %"
    return [
        Figure(f"{name}, mean", 100 * mean, "%", "granted", 100, enough, mean >= 0.95),
        Figure("  the least of all 50 ms", 100 * least, "%", "granted", 100, enough, least >= 0.95),
        Figure("  the least of all moments", 100 * min(moments) / IN_FLIGHT, "%", "granted", 100),
    ]


class Watch(threading.Thread):
    """Asks the simulator again and again what it has counted."""

    def __init__(self, place: Stage) -> None:
        super().__init__(daemon=True)
        self._url = place.env["UPSTREAM_BASE_URL"].removesuffix("/v1") + "/stats"
        self._seen: list[dict[str, float]] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(SAMPLE_SECONDS):
            with urllib.request.urlopen(self._url) as answer:
                self._seen.append(json.load(answer))

    def used(self) -> tuple[list[float], list[float]]:
        """Calls in flight in each span between two looks, and at each look, from the first full one until the last call."""
        last = self._seen[-1]["calls"]
        busy = [look for look in self._seen if look["calls"] < last]
        moments = [look["in_flight"] for look in busy]
        full = next((at for at, count in enumerate(moments) if count >= 0.95 * IN_FLIGHT), 0)
        spans = [
            (after["call_seconds"] - before["call_seconds"]) / (after["clock"] - before["clock"])
            for before, after in itertools.pairwise(busy[full:])
        ]
        return spans, moments[full:]
