"""`./run`: 200 prompts through the whole service as one batch, checked, with a table of what came out."""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import openai
from django.conf import settings
from openai.types import Batch, BatchRequestCounts
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tools import parts
from tools.processes import PYTHON, ROOT, Children, Failed, free_port, signals_as_interrupts

SAMPLE = ROOT / "samples/prompts.jsonl"
ENDPOINT: Final = "/v1/chat/completions"
SIMULATED_MODEL = "simulated"
SIMULATED_LATENCY = "lognormal:0.3,0.6"  # seconds
PATIENCE_SECONDS = 180.0  # without any progress of the batch
POLL_SECONDS = 0.4
TERMINAL = ("completed", "failed", "expired", "cancelled")

console = Console(highlight=False)


@contextlib.contextmanager
def phase(done: str) -> Iterator[None]:
    """One line when the block has ended well: what was done and how long it took."""
    started = time.monotonic()
    yield
    say(f"{done} ({time.monotonic() - started:.1f} s)")


@dataclass(frozen=True)
class Results:
    """A batch that has ended, and the files it left in `directory`."""

    batch: Batch
    directory: Path
    asked: list[str]  # custom ids, in the order of the input
    output: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    seconds: float


def run_demo(model: str | None) -> int:
    """Start everything, run the batch, stop everything; returns the exit status."""
    with parts.alone("demo"):
        try:
            with Children(settings.DATA_DIR / "log", parts.environment()) as children:
                problems = demonstrate(children, model)
        finally:
            say("Stopped everything that was started")
    return 1 if problems else 0


def demonstrate(children: Children, model: str | None) -> list[str]:
    """Run and show one batch; returns what is wrong with it."""
    port = free_port()
    with phase("Database, upstream, web server and worker are ready"):
        key = start(children, port)
    model = model or choose_model()
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/api/v1/llm", api_key=key)
    results = run_batch(client, children, model)
    with phase("Checked by verify_batch"):
        problems = [*find_problems(results), *verify(results.batch.id)]
    show(results, parts.describe(children.env["UPSTREAM_BASE_URL"]), problems)
    return problems


def start(children: Children, port: int) -> str:
    """Start every part, ready when this returns; returns the secret of a new API key."""
    if not os.environ.get("UPSTREAM_BASE_URL"):
        parts.start_simulator(children, 0, "--latency", SIMULATED_LATENCY)
    parts.prepare_database()
    web = parts.start_web(children, port, workers=1)
    parts.start_worker(children)
    key = parts.issue_key("demo", "demo", "--expires-in-days", "1")
    parts.wait_for_web(web, port)
    return key


def choose_model() -> str:
    """UPSTREAM_MODEL, or the first model that the upstream of UPSTREAM_BASE_URL lists.

    Raises:
        Failed: neither is there.
    """
    base_url = os.environ.get("UPSTREAM_BASE_URL")
    if not base_url:
        return SIMULATED_MODEL
    if named := os.environ.get("UPSTREAM_MODEL"):
        return named
    key = os.environ.get("UPSTREAM_API_KEY") or "none"
    try:
        return openai.OpenAI(base_url=base_url, api_key=key).models.list().data[0].id
    except (openai.OpenAIError, IndexError) as reason:
        remedy = "name one: UPSTREAM_MODEL=... ./run"
        raise Failed(f"the upstream at {base_url} lists no model ({reason}); {remedy}") from reason


def run_batch(client: openai.OpenAI, children: Children, model: str) -> Results:
    """Upload the sample, follow its batch to the end and save what it left.

    Raises:
        Failed: a part ended, the API refused something, or nothing moved for too long.
    """
    started = time.monotonic()
    lines = [json.loads(line) for line in SAMPLE.read_text().splitlines()]
    for line in lines:
        line["body"]["model"] = model
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    try:
        with phase(f"Uploaded {len(lines)} prompts for the model {model}"):
            file = client.files.create(file=(SAMPLE.name, content), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h"
        )
        with phase(f"Ran {batch.id}"):
            batch = follow(client, children, batch)
        seconds = time.monotonic() - started
        return save(client, batch, [line["custom_id"] for line in lines], seconds)
    except openai.OpenAIError as reason:
        children.check()  # a part that ended is the better explanation
        raise Failed(f"the API answered: {reason}") from reason


def follow(client: openai.OpenAI, children: Children, batch: Batch) -> Batch:
    """The batch as it is when it has ended, with its progress shown meanwhile."""
    last_change, before = time.monotonic(), (batch.status, batch.request_counts)
    with shown_progress() as show_progress:
        while batch.status not in TERMINAL:
            time.sleep(POLL_SECONDS)
            children.check()
            batch = client.batches.retrieve(batch.id)
            now = (batch.status, batch.request_counts)
            if now != before:
                last_change, before = time.monotonic(), now
                show_progress(batch)
            elif time.monotonic() - last_change > PATIENCE_SECONDS:
                logs = settings.DATA_DIR / "log"
                raise Failed(f"{batch.id} has not moved for {PATIENCE_SECONDS:.0f} s; see {logs}")
    return batch


@contextlib.contextmanager
def shown_progress() -> Iterator[Callable[[Batch], None]]:
    """Yields a function of a batch that shows how far it is: a bar on a terminal, else a line."""
    if not console.is_terminal:
        yield lambda batch: say(f"  {_progress(batch)}")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        row = bar.add_task("validating", total=None)

        def show_bar(batch: Batch) -> None:
            counts = counts_of(batch)
            done, total = counts.completed + counts.failed, counts.total or None
            bar.update(row, description=_progress(batch), completed=done, total=total)

        yield show_bar


def _progress(batch: Batch) -> str:
    counts = counts_of(batch)
    failed = f", {counts.failed} failed" if counts.failed else ""
    return f"{batch.status} {counts.completed}/{counts.total}{failed}"


def counts_of(batch: Batch) -> BatchRequestCounts:
    return batch.request_counts or BatchRequestCounts(completed=0, failed=0, total=0)


def save(client: openai.OpenAI, batch: Batch, asked: list[str], seconds: float) -> Results:
    """Write output.jsonl and errors.jsonl, as far as the batch has them, under var/demo/."""
    directory = settings.DATA_DIR / "demo" / batch.id
    directory.mkdir(parents=True)
    named = {"output.jsonl": batch.output_file_id, "errors.jsonl": batch.error_file_id}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in named}
    for name, file_id in named.items():
        if file_id:
            path = directory / name
            client.files.content(file_id).write_to_file(path)
            rows[name] = [json.loads(line) for line in path.read_text().splitlines()]
    return Results(batch, directory, asked, rows["output.jsonl"], rows["errors.jsonl"], seconds)


def find_problems(results: Results) -> list[str]:
    """What is not as it must be: the status, a count, an order, or a line that failed."""
    batch, asked = results.batch, results.asked
    if batch.errors and batch.errors.data:
        return [f"line {error.line}: {error.message}" for error in batch.errors.data[:5]]
    counts = counts_of(batch)
    held = {"total": len(asked), "completed": len(results.output), "failed": len(results.errors)}
    problems = [
        f"the batch counts {getattr(counts, name)} {name}, its files hold {number}"
        for name, number in held.items()
        if getattr(counts, name) != number
    ]
    if batch.status != "completed":
        problems.append(f"the batch ended as {batch.status}")
    answered = [line["custom_id"] for line in results.output]
    if answered != [custom_id for custom_id in asked if custom_id in set(answered)]:
        problems.append("the output is not in the order of the input")
    if results.errors:
        first = json.dumps(results.errors[0], ensure_ascii=False)[:300]
        problems.append(f"{len(results.errors)} lines failed; the first: {first}")
    return problems


def verify(batch_id: str) -> list[str]:
    """What `verify_batch` has to object, from the rows and the stored bytes."""
    command = [PYTHON, "manage.py", "verify_batch", batch_id]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = (done.stdout + done.stderr).strip()
    if done.returncode:
        return [f"verify_batch: {said}"]
    say(f"  {said}")
    return []


def show(results: Results, used: dict[str, str], problems: list[str]) -> None:
    batch, counts = results.batch, counts_of(results.batch)
    table = Table(show_header=False)
    table.add_row("batch", batch.id)
    table.add_row("status", batch.status)
    table.add_row("lines", str(counts.total))
    table.add_row("completed", str(counts.completed))
    table.add_row("failed", str(counts.failed))
    if batch.usage:
        tokens = f"{batch.usage.input_tokens} in, {batch.usage.output_tokens} out"
        table.add_row("tokens", tokens)
    table.add_row("seconds", f"{results.seconds:.1f}")
    for line in results.output[:3]:
        table.add_row(line["custom_id"], _shortened(line))
    console.print(table)
    for name, value in {"files": str(results.directory), **used}.items():
        say(f"{name:>9} : {value}")
    for problem in problems:
        say(f"    WRONG : {problem}")


def _shortened(line: dict[str, Any]) -> str:
    content = str(line["response"]["body"]["choices"][0]["message"]["content"])
    return textwrap.shorten(content, width=90, placeholder=" …")


def say(text: str) -> None:
    """Print a line as it is, however long."""
    console.print(text, soft_wrap=True, markup=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run", description=__doc__)
    parser.add_argument("--model", help="default: UPSTREAM_MODEL, or the first the upstream lists")
    arguments = parser.parse_args()
    try:
        with signals_as_interrupts():
            parts.set_up_django()
            return run_demo(arguments.model)
    except Failed as reason:
        print(f"./run: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
