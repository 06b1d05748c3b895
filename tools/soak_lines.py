"""`./run soak --lines N --kills K`: one batch of N lines, and K times a whole worker dies at once while it runs.

Settings are those of an installation, so the figures are too. Nothing grows with N in this process but a byte a line.
"""

import hashlib
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import openai
from django.conf import settings
from openai.types import Batch

from benchmarks import cpu
from tools import parts
from tools.processes import Children
from tools.soak_check import Findings, prompt, repeated_calls, request_lines, verify
from tools.soak_client import TERMINAL, counts_of
from tools.soak_report import Figure, say, show_figures
from tools.soak_service import Service, Upstream

SETTINGS = {
    "BATCH_MAX_REQUESTS": "10000000",
    "FILE_MAX_BYTES": str(16 << 30),
    "BATCH_FILE_MAX_BYTES": str(16 << 30),
}
UPSTREAM = ("--latency", "0.1")
AT_ONCE = 10_000  # lines of the input that are written together
POLL_SECONDS = 0.1
STILL_SECONDS = 240.0  # without a new result, and nobody waits for it any longer
WORKERS = 2
CONCURRENCY = 4096  # of the batch: more than all engines together make
ID = "line-"


@dataclass
class Story:
    """What the client saw and did, in seconds since it created the batch."""

    uploaded: float = 0.0  # seconds the upload took
    seconds: float = 0.0  # until the end
    finalized: float = 0.0  # of these, after the last result
    in_flight: list[int] = field(default_factory=list)  # at each kill, as the upstream counts it
    longest_still: float = 0.0
    broken: list[str] = field(default_factory=list)


def soak(lines: int, kills: int, directory: Path) -> int:
    """Run it in `directory` and print the table; returns the exit status."""
    parts.prepare_database()
    with Children(directory / "log", parts.environment()) as children:
        upstream = Upstream(children, directory / "calls.jsonl", *UPSTREAM)
        service = Service(children)
        service.start()
        door = openai.OpenAI(
            base_url=f"http://127.0.0.1:{service.ports[0]}/v1",
            api_key=parts.issue_key("soak", "soak", "--expires-in-days", "1"),
            timeout=3600,
        )
        story, memory = Story(), Memory(service)
        with service.kept(), memory:
            digest = write_input(directory / "input.jsonl", lines)
            batch = submit(door, directory / "input.jsonl", story)
            batch = watch(door, batch, service, upstream, lines, kills, story)
            found = reckon(door, batch, directory, lines, digest)
        found.problems += story.broken
        calls, repeated = repeated_calls(upstream.log)
    allowed = kills * settings.ENGINE_CONCURRENCY * settings.ENGINE_WORKERS
    if repeated > allowed:
        found.problems.append(f"{repeated} calls were repeated; at most {allowed} may be")
    show_figures(figures(lines, story, calls, repeated, allowed, memory, found), found.problems)
    return 0 if found.are_none() else 1


def write_input(path: Path, lines: int) -> str:
    """Write a request for each line; returns the digest of the file."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        ids = (f"{ID}{number}" for number in range(lines))
        while some := list(itertools.islice(ids, AT_ONCE)):
            content = request_lines(some, set())
            digest.update(content)
            file.write(content)
    return digest.hexdigest()


def submit(door: openai.OpenAI, path: Path, story: Story) -> Batch:
    began = time.monotonic()
    with path.open("rb") as content:
        file = door.files.create(file=content, purpose="batch")
    story.uploaded = time.monotonic() - began
    say(f"Uploaded {path.stat().st_size / 1e6:.0f} MB in {story.uploaded:.1f} s")
    # Of the default, one engine could make all the calls there may be, and the others would stand by.
    return door.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        extra_body={"max_concurrency": CONCURRENCY},
    )


def watch(
    door: openai.OpenAI,
    batch: Batch,
    service: Service,
    upstream: Upstream,
    lines: int,
    kills: int,
    story: Story,
) -> Batch:
    """Poll until the batch has ended, and kill a worker each time that another part of the lines is done."""
    began = moved_at = time.monotonic()
    before = (0, 0, 0)
    while batch.status not in TERMINAL:
        time.sleep(POLL_SECONDS)
        batch = door.batches.retrieve(batch.id)
        counts, now = counts_of(batch), time.monotonic()
        if any(new < old for new, old in zip(counts, before, strict=True)):
            story.broken.append(f"counts went from {before} to {counts}")
        if counts != before:
            story.longest_still = max(story.longest_still, now - moved_at)
            before, moved_at = counts, now
        elif now - moved_at > STILL_SECONDS:
            story.broken.append(f"{batch.id} stands still: {batch.status}, {counts}")
            break
        done, struck = sum(counts[:2]), len(story.in_flight)
        if struck < kills and done >= lines * (struck + 1) / (kills + 1) and done < lines:
            story.in_flight.append(upstream.stats()["in_flight"])
            service.kill_worker(struck % WORKERS + 1)
            say(f"{now - began:6.1f} s, {done} lines done: killed worker {struck % WORKERS + 1}")
    story.seconds = time.monotonic() - began
    story.finalized = time.monotonic() - moved_at
    if len(story.in_flight) < kills:
        story.broken.append(f"it ended after {len(story.in_flight)} of {kills} kills")
    return batch


def reckon(door: openai.OpenAI, batch: Batch, directory: Path, lines: int, digest: str) -> Findings:
    """Hold the files of the ended batch against what was sent."""
    sent = fetched(door, batch.input_file_id, directory / "sent.jsonl")
    output = fetched(door, batch.output_file_id, directory / "output.jsonl")
    errors = fetched(door, batch.error_file_id, directory / "errors.jsonl")
    found = check(lines, output, errors)
    with sent.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != digest:
            found.problems.append("the input file is not what was uploaded")
    if batch.status != "completed" or counts_of(batch) != (lines, 0, lines):
        found.problems.append(f"{batch.id} ended as {batch.status} with {counts_of(batch)}")
    found.problems += verify([batch.id])
    return found


def fetched(door: openai.OpenAI, file_id: str | None, path: Path) -> Path:
    path.touch()
    if file_id is not None:
        with door.files.with_streaming_response.content(file_id) as answer:
            answer.stream_to_file(path)
    return path


def check(lines: int, output: Path, errors: Path) -> Findings:
    """Each line once, in the order of the input, with its own answer; and none among the errors."""
    found = Findings(lines=lines)
    seen = bytearray(lines)
    last = -1
    for raw in lines_of(output):
        result = msgspec.json.decode(raw)
        number = int(result["custom_id"].removeprefix(ID))
        if number >= lines:
            found.problems.append(f"nobody asked for {ID}{number}")
            continue
        seen[number] = min(255, seen[number] + 1)
        if number < last:
            found.problems.append(f"{ID}{number} comes after {ID}{last}")
        last = number
        said = result["response"]["body"]["choices"][0]["message"]["content"]
        if f'"{prompt(result["custom_id"])}"' not in said:
            found.problems.append(f"{ID}{number} got the answer of another line")
    for raw in lines_of(errors):
        found.problems.append(f"a line failed: {raw[:200]!r}")
    found.lost = seen.count(0)
    found.doubled = sum(count - 1 for count in seen if count)
    return found


def lines_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


class Memory(threading.Thread):
    """Looks every second for the most memory that any process of the service holds, in MB, by kind."""

    def __init__(self, service: Service) -> None:
        super().__init__(name="memory", daemon=True)
        self.peaks: dict[str, float] = {"web": 0.0, "runworker": 0.0}
        self._service = service
        self._over = threading.Event()

    def __enter__(self) -> "Memory":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(1):
            for kind, pid in self._service.roots():
                self.peaks[kind] = max(self.peaks[kind], *cpu.peaks(pid).values(), 0.0)


def figures(
    lines: int,
    story: Story,
    calls: int,
    repeated: int,
    allowed: int,
    memory: Memory,
    found: Findings,
) -> Iterator[Figure]:
    yield "database", parts.describe("")["database"].partition(",")[0]
    yield "lines", f"{lines:,}"
    yield "seconds from create to the end", f"{story.seconds:.1f}"
    yield "  of these after the last result", f"{story.finalized:.1f}"
    yield "lines per second", f"{lines / story.seconds:,.0f}"
    yield "whole workers killed", str(len(story.in_flight))
    yield "longest without a new result", f"{story.longest_still:.1f} s"
    yield "upstream calls", f"{calls:,}"
    yield "  in flight at the kills", ", ".join(f"{count:,}" for count in story.in_flight)
    yield "  repeated", f"{repeated:,} (at most {allowed:,})"
    yield "most memory of a web process", f"{memory.peaks['web']:.0f} MB"
    yield "most memory of a worker process", f"{memory.peaks['runworker']:.0f} MB"
    yield "lines lost", str(found.lost)
    yield "lines doubled", str(found.doubled)
    yield "broken promises", str(len(found.problems))
