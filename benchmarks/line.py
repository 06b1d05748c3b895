"""`line`: CPU of one line end to end, beside what its request alone costs."""

import resource
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.batch import Consumer, Run, write_input
from benchmarks.figures import Figure, Section
from benchmarks.stage import Stage, stage, start_upstream

ABOUT = (
    "10,000 lines of 1 KB, answers of 1.2 KB, an upstream that costs nothing, from upload to download: CPU of the web "
    "server's and the worker's processes added up, the best of the rounds. Beside it, on the same requests and the same "
    "upstream, 512 in flight: a bare loop over the transport, which keeps no result; the same over aiohttp; the "
    "`openai` SDK's AsyncOpenAI with a semaphore (500 lines); `wrk`. PostgreSQL's own CPU is apart."
)
LINES = 10_000
SDK_LINES = 500
ROUNDS = 7
TARGET_MS = 0.15
IDLE_SECONDS = 5.0
WRK = """
wrk.method = "POST"
wrk.body = [==[%s]==]
wrk.headers["content-type"] = "application/json"
"""


def measure(servers: dict[str, str]) -> list[Section]:
    return [_section(name, url) for name, url in servers.items()]


def _section(name: str, url: str) -> Section:
    with stage(url) as place:
        upstream = start_upstream(place)
        file = write_input(place.directory / "in.jsonl", LINES)
        place.start_web()
        place.start_worker()
        consumer = Consumer(place)
        consumer.run(write_input(place.directory / "warm.jsonl", 200), 200)
        runs: list[Run] = []
        bare: dict[str, list[float]] = {"http": [], "aiohttp": []}
        for _ in range(ROUNDS):
            runs.append(consumer.run(file, LINES))
            for kind, found in bare.items():
                found.append(_alone(place, kind, file, LINES))
        best = {kind: min(found) for kind, found in bare.items()}
        figures = [*_figures(runs, best, place)]
        if not url:
            figures += [*_others(place, file, min(run.spent for run in runs) / LINES * 1000)]
    return Section(f"line, {name}", f"{ABOUT} Upstream: {upstream}.", figures)


def _figures(runs: list[Run], bare: dict[str, float], place: Stage) -> list[Figure]:
    """All in milliseconds of CPU for one line."""
    best = min(runs, key=lambda run: run.spent)
    line = best.spent / LINES * 1000
    reached, within = line <= TARGET_MS, line <= 3 * bare["http"]
    rate = LINES / min(run.seconds for run in runs)
    figures = [
        Figure("a line, end to end", line, "ms CPU", "the limit", TARGET_MS, "<= 0.15 ms", reached),
        Figure("a line, end to end", line, "ms CPU", "bare loop", bare["http"], "<= x3", within),
        Figure("a line, end to end", line, "ms CPU", "bare loop on aiohttp", bare["aiohttp"]),
        Figure("from create to the last result", rate, "lines/s"),
    ]
    if place.server:
        server = best.server_spent / LINES * 1000
        figures.append(Figure("  PostgreSQL's own CPU for it", server, "ms CPU", "a line", line))
    before, began = place.spent(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    idle = (place.spent() - before) / (time.monotonic() - began)
    figures.append(Figure("web and worker while idle", idle * 100, "% of a core"))
    return figures


def _others(place: Stage, file: Path, line: float) -> list[Figure]:
    sdk = _alone(place, "sdk", file, SDK_LINES)
    figures = [Figure("a line, end to end", line, "ms CPU", "AsyncOpenAI + semaphore", sdk)]
    if shutil.which("wrk"):
        figures.append(Figure("a line, end to end", line, "ms CPU", "wrk", _wrk(place)))
    return figures


def _alone(place: Stage, kind: str, file: Path, lines: int) -> float:
    """Milliseconds of CPU a client spends on one of the file's requests."""
    url = place.env["UPSTREAM_BASE_URL"]
    return float(place.run("benchmarks.bare", kind, url, str(file), str(lines))) / lines * 1000


def _wrk(place: Stage) -> float:
    body = (place.directory / "warm.jsonl").open().readline().partition('"body": ')[2].rstrip()[:-1]
    script = place.directory / "post.lua"
    script.write_text(WRK % body)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    url = f"{place.env['UPSTREAM_BASE_URL']}/chat/completions"
    command = ["wrk", "-t1", "-c512", "-d3s", "-s", str(script), url]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent / int(done.stdout.partition(" requests in")[0].split()[-1]) * 1000
