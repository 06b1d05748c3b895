"""`start` and `finalize`: what a caller waits for beside the upstream, with a worker that has nothing else to do."""

import statistics
import time
from pathlib import Path

from benchmarks.batch import Consumer, write_input
from benchmarks.figures import Figure, Section
from benchmarks.stage import Stage, stage
from tools import parts
from tools.processes import free_port

START = (
    "Wall time from sending `POST /batches` to the first call at the simulator, by its log: validation and the claim "
    "are in between, and so are two looks of django-q2 into its queue (every 0.2 s)."
)
FINALIZE = (
    "Wall time from the commit of the last line to `completed`, by the batch's own stamps: the rows of a batch of 1,000 "
    "shards are made directly, and the worker does the rest. Beside it, a batch of one shard."
)
STARTS = 5
LINES = 1_000_000
ROUNDS = 2
PATIENCE_SECONDS = 60.0


def measure(servers: dict[str, str]) -> list[Section]:
    sections = []
    for name, url in servers.items():
        with stage(url) as place:
            calls = place.directory / "calls.log"
            parts.start_simulator(place.children, free_port(), "--log", str(calls))
            place.start_web()
            place.start_worker()
            sections.append(Section(f"start, {name}", START, _starts(place, calls)))
            sections.append(Section(f"finalize, {name}", FINALIZE, _ends(place)))
    return sections


def _starts(place: Stage, log: Path) -> list[Figure]:
    consumer = Consumer(place)
    file_id = consumer.upload(write_input(place.directory / "in.jsonl", 100))
    found = []
    for _ in range(STARTS):
        seen = log.stat().st_size if log.exists() else 0
        before = time.time()
        batch = consumer.create(file_id)
        consumer.wait(batch["id"], 0.1)
        first = log.read_text()[seen:].splitlines()[0]
        found.append(float(first.partition('"time":')[2].partition(",")[0]) - before)
        time.sleep(0.37)  # so that the next one meets another moment of the queue's clock
    worst, usual = max(found), statistics.median(found)
    limit = 1.5
    return [
        Figure("first call after create, median", usual, "s", "the limit", limit, "< 1.5 s", usual < limit),
        Figure("  the slowest", worst, "s", "the limit", limit, "< 1.5 s", worst < limit),
    ]  # fmt: skip


def _ends(place: Stage) -> list[Figure]:
    large, small = (min(_end(place, lines) for _ in range(ROUNDS)) for lines in (LINES, 1000))
    return [
        Figure("1,000,000 lines", large, "s", "1,000 lines", small),
        Figure("1,000,000 lines", large, "s", "the limit", 1.0, "< 1 s", large < 1),
    ]


def _end(place: Stage, lines: int) -> float:
    batch_id = place.run("benchmarks.rows", "ended", str(lines))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (seconds := place.run("benchmarks.rows", "ended_after", batch_id)) is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{batch_id} was not finalised in {PATIENCE_SECONDS} s")
        time.sleep(0.2)
    return float(seconds)
