"""`./run soak`: the service under kills, freezes, restarts and lost queues, and a client that keeps its own books."""

import argparse
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from django.db import connection

from tools import parts, soak_lines
from tools.postgres import Server, temporary_server
from tools.processes import Children, Failed, signals_as_interrupts
from tools.soak_check import Findings, repeated_calls, verify
from tools.soak_client import TERMINAL, Client
from tools.soak_nemesis import Nemesis
from tools.soak_report import Outcome, say, show
from tools.soak_service import Service, Upstream

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
# It refuses what all engines together send beyond its capacity; more refusals at random would only slow everything down.
UPSTREAM = (
    *("--latency", "lognormal:0.4,0.7", "--fail", "0.03", "--reject", "0.002"),
    *("--capacity", "60", "--retry-after", "0.5"),
)


def soak(minutes: float, seed: int, directory: Path, database: Server | None) -> int:
    """Run it in `directory` and print the table; returns the exit status."""
    parts.prepare_database()
    log = directory / "calls.jsonl"
    with Children(directory / "log", parts.environment()) as children:
        upstream = Upstream(children, log, *UPSTREAM)
        service = Service(children)
        service.start()
        key = parts.issue_key("soak", "soak", "--expires-in-days", "1")
        urls = [f"http://127.0.0.1:{port}/api/v1/llm" for port in service.ports]
        clients = [Client(urls, key, directory / f"client-{n}", seed + n) for n in range(CLIENTS)]
        nemesis = Nemesis(service, upstream, database, seed, minutes * 60)
        with service.kept():
            started = time.monotonic()
            run(nemesis, clients, minutes)
            outcome = reckon(clients, log, (time.monotonic() - started) / 60)
    if not nemesis.counts:
        outcome.findings.problems.append("nothing was done to the service")
    show(outcome, nemesis, clients)
    return 0 if outcome.findings.are_none() else 1


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


def pause_until(deadline: float, is_over: Callable[[], bool]) -> None:
    while time.monotonic() < deadline and not is_over():
        time.sleep(0.2)


@contextmanager
def place(postgres: bool, settings: Mapping[str, str]) -> Iterator[tuple[Path, Server | None]]:
    """A directory and a database of the soak's own, named in the environment; kept when the block fails."""
    directory = Path(tempfile.mkdtemp(prefix="longshore-soak-"))
    with ExitStack() as stack:
        database = None
        if postgres:
            # What a COMMIT answered must survive a crash of the server.
            database = stack.enter_context(temporary_server(synchronous_commit="on"))
        url = database.url if database else f"sqlite:///{directory / 'db.sqlite3'}"
        os.environ |= {
            **settings,
            "DATA_DIR": str(directory),
            "STORAGE_DIR": str(directory / "files"),
            "DATABASE_URL": url,
            "UPSTREAM_BASE_URL": "",
        }
        yield directory, database


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="of faults; default: 3")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL of its own")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument(
        "--lines", type=int, help="instead: one batch of so many lines, whole workers killed"
    )
    parser.add_argument("--kills", type=int, default=3, help="with --lines; default: 3")
    arguments = parser.parse_args()
    if arguments.lines is not None and arguments.lines <= arguments.kills:
        parser.error("--lines must be more than --kills")
    return arguments


def main() -> int:
    arguments = parsed()
    lines = arguments.lines
    status = 1
    try:
        settings = soak_lines.SETTINGS if lines else SETTINGS
        with signals_as_interrupts(), place(arguments.postgres, settings) as (directory, database):
            parts.set_up_django()
            say(f"Seed {arguments.seed}; logs and journals in {directory}")
            if lines:
                status = soak_lines.soak(lines, arguments.kills, directory)
            else:
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
