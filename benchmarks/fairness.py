"""`fairness`: a batch of ten lines beside another user's of a million, and the same ten lines alone."""

import statistics
import time

from benchmarks.batch import Consumer, write_input
from benchmarks.figures import Figure, Section
from benchmarks.stage import Stage, stage
from tools import parts
from tools.processes import free_port

ABOUT = (
    "Wall time from `POST /batches` to `completed` for ten lines, polled every 50 ms; the upstream answers after "
    "100 ms. Alone, then while a batch of {lines:,} lines of another account runs, with as many calls in flight as "
    "two engines make; it is still running after the last of them."
)
LINES, SMALL_LINES = 1_000_000, 10
ROUNDS = 5
LATENCY = 0.1
LIMIT_SECONDS = 5.0
POLL_SECONDS = 0.05
BUSY_CALLS = 20_000  # of the big batch, before the first small one is sent
PATIENCE_SECONDS = 300.0


def measure(servers: dict[str, str]) -> list[Section]:
    return [
        Section(f"fairness, {name}", ABOUT.format(lines=LINES), _measure(url))
        for name, url in servers.items()
    ]


def _measure(url: str) -> list[Figure]:
    with stage(url) as place:
        parts.start_simulator(place.children, free_port(), "--latency", str(LATENCY))
        place.start_web()
        place.start_worker()
        someone, other = Consumer(place), Consumer(place, "other")
        small = someone.upload(write_input(place.directory / "small.jsonl", SMALL_LINES))
        _seconds(someone, small)  # a first one warms things up
        alone = [_seconds(someone, small) for _ in range(ROUNDS)]
        big = _start_big(place, other)
        beside = [_seconds(someone, small) for _ in range(ROUNDS)]
        if (status := other.get(big)["status"]) != "in_progress":
            raise RuntimeError(f"the big batch is {status} already")
    worst, usual = max(beside), statistics.median(beside)
    reached = worst < LIMIT_SECONDS
    return [
        Figure("ten lines, median", usual, "s", "alone", statistics.median(alone)),
        Figure("  the slowest", worst, "s", "alone", max(alone)),
        Figure("  the slowest", worst, "s", "the limit", LIMIT_SECONDS, "< 5 s", reached),
    ]


def _seconds(consumer: Consumer, file_id: str) -> float:
    began = time.monotonic()
    consumer.wait(consumer.create(file_id)["id"], POLL_SECONDS)
    return time.monotonic() - began


def _start_big(place: Stage, consumer: Consumer) -> str:
    """Return the id of the big batch once it keeps every engine busy."""
    file = write_input(place.directory / "big.jsonl", LINES, body_bytes=60)
    batch = str(consumer.create(consumer.upload(file))["id"])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while consumer.get(batch)["request_counts"]["completed"] < BUSY_CALLS:
        place.children.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"the big batch has not begun in {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
    return batch
