"""`./run soak`: the service under kills, freezes, restarts and lost queues, and a client that keeps its own books."""

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.db import connection
from rich.console import Console
from rich.table import Table

from tools import parts
from tools.postgres import Server, temporary_server
from tools.processes import PYTHON, ROOT, Children, Failed, signals_as_interrupts
from tools.soak_check import Findings, repeated_calls
from tools.soak_client import TERMINAL, Client
from tools.soak_nemesis import Nemesis
from tools.soak_service import Service

CLIENTS = 2
END_SECONDS = 240.0  # for what was accepted to end, once nothing goes wrong any more
SETTINGS = {
    "BATCH_LEASE_SECONDS": "10",
    "STALL_SECONDS": "20",
    "BATCH_SHARD_LINES": "50",
    "BATCH_DRAIN_SECONDS": "5",
    "ENGINE_CONCURRENCY": "20",
    "ENGINE_WORKERS": "2",
    "CONTROL_WORKERS": "2",
}
UPSTREAM = ("--latency", "lognormal:0.4,0.7", "--fail", "0.03", "--reject", "0.03")

console = Console(highlight=False)


@dataclass
class Outcome:
    """All that the table tells."""

    findings: Findings
    calls: int
    repeated: int
    batches: int
    minutes: float


def soak(minutes: float, seed: int, directory: Path, database: Server | None) -> int:
    """Run it in `directory` and print the table; returns the exit status."""
    parts.prepare_database()
    log = directory / "calls.jsonl"
    with Children(directory / "log", parts.environment()) as children:
        parts.start_simulator(children, 0, "--log", str(log), "--retry-after", "0.5", *UPSTREAM)
        service = Service(children)
        service.start()
        key = parts.issue_key("soak", "soak", "--expires-in-days", "1")
        urls = [f"http://127.0.0.1:{port}/api/v1/llm" for port in service.ports]
        clients = [Client(urls, key, directory / f"client-{n}", seed + n) for n in range(CLIENTS)]
        nemesis = Nemesis(service, database, seed)
        with kept(service):
            started = time.monotonic()
            run(nemesis, clients, minutes)
            outcome = reckon(clients, log, (time.monotonic() - started) / 60)
    if not nemesis.counts:
        outcome.findings.problems.append("nothing was done to the service")
    show(outcome, nemesis, clients)
    found = outcome.findings
    return 1 if found.problems or found.lost or found.doubled else 0


@contextmanager
def kept(service: Service) -> Iterator[None]:
    """Within the block, whatever ends is started again."""
    over = threading.Event()
    keeper = threading.Thread(target=service.keep, args=(over,), name="keeper", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def run(nemesis: Nemesis, clients: list[Client], minutes: float) -> None:
    """Let the clients work while things go wrong, then without that until their batches have ended."""
    for thread in (*clients, nemesis):
        thread.start()
    try:
        pause_until(time.monotonic() + minutes * 60, lambda: not nemesis.is_alive())
    finally:
        nemesis.end()
    if nemesis.failure:
        raise Failed(f"the nemesis itself failed: {nemesis.failure!r}")
    say("No more faults; waiting for the batches that were accepted")
    for client in clients:
        client.submit_no_more()
    pause_until(
        time.monotonic() + END_SECONDS,
        lambda: not any(client.open_batches for client in clients),
    )
    for client in clients:
        client.end()


def reckon(clients: list[Client], log: Path, minutes: float) -> Outcome:
    total = Findings()
    for client in clients:
        found = client.reckon()
        total.lines += found.lines
        total.lost += found.lost
        total.doubled += found.doubled
        total.problems += found.problems
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, status FROM batches_batch")
        statuses = dict(cursor.fetchall())
    total.problems += [
        f"{batch} has not ended: it is {status}"
        for batch, status in statuses.items()
        if status not in TERMINAL
    ]
    total.problems += verify(list(statuses))
    return Outcome(total, *repeated_calls(log), len(statuses), minutes)


def verify(batches: list[str]) -> list[str]:
    """What `verify_batch` has to object, from the rows and the stored bytes."""
    if not batches:
        return ["no batch was submitted"]
    command = [PYTHON, "manage.py", "verify_batch", *batches]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return [f"verify_batch: {done.stdout}{done.stderr}"] if done.returncode else []


def show(outcome: Outcome, nemesis: Nemesis, clients: list[Client]) -> None:
    found = outcome.findings
    answers = sum((client.answers for client in clients), Counter[int]())
    table = Table(show_header=False)
    table.add_row("database", parts.describe("")["database"].partition(",")[0])
    table.add_row("minutes", f"{outcome.minutes:.1f}")
    for kind, count in sorted(nemesis.counts.items()):
        table.add_row(kind, str(count))
    table.add_section()
    table.add_row("faults", str(nemesis.counts.total()))
    table.add_row("API requests answered", str(answers[200]))
    table.add_row("  refused with 503", str(answers[503]))
    table.add_row("  without an answer", str(answers[0]))
    table.add_row("batches", str(outcome.batches))
    table.add_row("lines checked", str(found.lines))
    table.add_row("upstream calls", str(outcome.calls))
    table.add_row("  repeated after a fault", str(outcome.repeated))
    longest = max(client.longest_still for client in clients)
    table.add_row("longest a batch stood still", f"{longest:.0f} s")
    table.add_row("lines lost", str(found.lost))
    table.add_row("lines doubled", str(found.doubled))
    table.add_row("broken promises", str(len(found.problems)))
    console.print(table)
    for problem in found.problems:
        say(f"WRONG: {problem}")


def pause_until(deadline: float, is_over: Callable[[], bool]) -> None:
    while time.monotonic() < deadline and not is_over():
        time.sleep(0.2)


def say(text: str) -> None:
    console.print(text, soft_wrap=True, markup=False)


@contextmanager
def place(postgres: bool) -> Iterator[tuple[Path, Server | None]]:
    """A directory and a database of the soak's own, named in the environment; kept when the block fails."""
    directory = Path(tempfile.mkdtemp(prefix="longshore-soak-"))
    with ExitStack() as stack:
        database = None
        if postgres:
            # What a COMMIT answered must survive a crash of the server.
            database = stack.enter_context(temporary_server(synchronous_commit="on"))
        url = database.url if database else f"sqlite:///{directory / 'db.sqlite3'}"
        os.environ |= SETTINGS | {
            "DATA_DIR": str(directory),
            "STORAGE_DIR": str(directory / "files"),
            "DATABASE_URL": url,
            "UPSTREAM_BASE_URL": "",
        }
        yield directory, database


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="of faults; default: 3")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL of its own")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    arguments = parser.parse_args()
    status = 1
    try:
        with signals_as_interrupts(), place(arguments.postgres) as (directory, database):
            parts.set_up_django()
            say(f"Seed {arguments.seed}; logs and journals in {directory}")
            status = soak(arguments.minutes, arguments.seed, directory, database)
            if status == 0:
                shutil.rmtree(directory)
    except Failed as reason:
        print(f"./run: {reason}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
