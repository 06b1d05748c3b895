"""Workers, a simulated upstream and batches as real processes, rows and files, looked at from outside."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.support.installation import Installation
from tests.support.ports import held_port
from tests.support.processes import children, members, named, running, wait_for
from tests.support.stack import LISTENING

PROMISED_SECONDS = 90  # in which the lines of a dead worker go on
SHARD_LINES = 40
SETTINGS = {
    "BATCH_LEASE_SECONDS": "10",
    "STALL_SECONDS": "10",
    "BATCH_SHARD_LINES": str(SHARD_LINES),
    "ENGINE_CONCURRENCY": "10",
}
COMMAND = ("runworker", "--control-workers", "2", "--engine-workers", "2")
PROCESSES = 2 * ("cluster", "sentinel", "pusher", "monitor", "worker", "worker")


# The upstream


@dataclasses.dataclass(frozen=True)
class Call:
    """A call the simulator has answered, or seen abandoned."""

    line: int  # in the input file, from 1
    began_at: float  # Unix seconds


class Upstream:
    """A simulator that can go away and come back at the same address, and that logs every call."""

    def __init__(self, installation: Installation, port: int) -> None:
        self._installation = installation
        self._calls = installation.directory / "calls.jsonl"
        self._life = ExitStack()
        self._port = port
        self._pages = f"http://127.0.0.1:{port}"
        self.url = f"{self._pages}/v1"
        self.come()

    def come(self) -> None:
        log = self._installation.directory / "upstream.log"
        log.unlink(missing_ok=True)
        command = ("simulate_upstream", "--port", str(self._port), "--log", str(self._calls))
        environment = self._installation.environment
        self._life.enter_context(running(*command, environment=environment, log=log))
        wait_for(lambda: LISTENING in log.read_text(), "the simulator listens")

    def go_away(self) -> None:
        """Die, and with it every call in flight."""
        self._life.close()

    def set(self, **options: Any) -> None:
        """Change how it answers from now on; see `simulate_upstream --help`."""
        urllib.request.urlopen(f"{self._pages}/settings", json.dumps(options).encode()).close()

    def stats(self) -> dict[str, Any]:
        """The counts since it last came."""
        with urllib.request.urlopen(f"{self._pages}/stats") as answer:
            counts: dict[str, Any] = json.load(answer)
        return counts

    def called(self) -> int:
        """How many calls have begun since it last came."""
        return int(self.stats()["calls"])

    def calls(self, batch: "Batch") -> list[Call]:
        """The calls of a batch that are over, from the log."""
        if not self._calls.exists():
            return []
        entries = map(json.loads, self._calls.read_text().splitlines())
        found = []
        for entry in entries:
            batch_id, line, _ = entry["x-request-id"].split(":")
            if batch_id == batch.id:
                found.append(Call(int(line), entry["time"]))
        return found


@contextmanager
def simulated(installation: Installation) -> Iterator[Upstream]:
    with held_port() as port:
        upstream = Upstream(installation, port)
        try:
            yield upstream
        finally:
            upstream.go_away()


# Workers


class Worker:
    """A `runworker` and all its processes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._sessions = {process.pid}

    def sessions(self) -> set[int]:
        """The runworker's own session and those its clusters have or had."""
        self._sessions |= set(children(self.process.pid))
        return self._sessions

    def pids(self, *roles: str) -> list[int]:
        """Its living processes whose names begin so, such as `worker-engine`; without roles, all."""
        names = roles or ("",)
        return [
            pid
            for session in self.sessions()
            for name in names
            for pid in named(session, name[:15])
        ]

    def is_up(self) -> bool:
        names = [name.partition("-")[0] for s in self.sessions() for name in members(s).values()]
        return all(names.count(name) >= PROCESSES.count(name) for name in PROCESSES)

    def is_gone(self) -> bool:
        return self.process.poll() is not None and not self.pids()

    def signal(self, number: int) -> None:
        """Send a signal to every one of its processes."""
        for session in self.sessions():
            with suppress(ProcessLookupError):
                os.killpg(session, number)

    def kill(self) -> None:
        """Kill the runworker, and see everything end with it."""
        self.sessions()
        self.process.kill()
        wait_for(self.is_gone, "every process of the worker to end")


def kill(pids: Sequence[int]) -> None:
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


# Batches


class Batch:
    """A submitted batch: its row, its calls and its results."""

    def __init__(self, installation: Installation, batch_id: str, custom_ids: list[str]) -> None:
        self.id = batch_id
        self.custom_ids = custom_ids
        self._installation = installation

    def row(self, *columns: str) -> tuple[Any, ...]:
        statement = f"SELECT {', '.join(columns)} FROM batches_batch WHERE id = ?"
        return self._installation.execute(statement, self.id)[0]

    @property
    def status(self) -> str:
        return str(self.row("status")[0])

    def recorded(self) -> int:
        """Lines whose result is committed."""
        return int(self.row("completed + failed")[0])

    def shards(self, condition: str) -> int:
        statement = f"SELECT count(*) FROM batches_shard WHERE batch_id = ? AND {condition}"
        return int(self._installation.execute(statement, self.id)[0][0])

    def in_step(self, status: str) -> bool:
        """Whether somebody is validating or finalising it right now."""
        now, leased = self.row("status", "step_lease_expires_at")
        return bool(now == status and leased)

    def wait_until(self, status: str, seconds: float = PROMISED_SECONDS) -> None:
        wait_for(lambda: self.status == status, f"{self.id} to be {status}", seconds)

    def wait_for_results(self, lines: int) -> None:
        wait_for(lambda: self.recorded() >= lines, f"{lines} results of {self.id}")

    def content(self, kind: str) -> bytes:
        """The bytes of its `output` or `error` file, put together from the rows and the storage."""
        parts = self._installation.execute(
            "SELECT blob_id, start, bytes FROM files_filepart WHERE file_id = ? ORDER BY number",
            self.row(f"{kind}_file_id")[0],
        )
        storage = storage_of(self._installation)
        return b"".join(
            (storage / key[:2] / key[2:]).read_bytes()[start : start + size]
            for key, start, size in parts
        )

    def digest(self) -> str:
        """What must never change once the batch has ended."""
        row = self.row("status", "completed", "failed", "output_file_id", "error_file_id")
        return hashlib.sha256(
            repr(row).encode() + self.content("output") + self.content("error")
        ).hexdigest()

    def results(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.content(kind).splitlines()]

    def assert_whole(self, status: str = "completed", *, failed: int = 0) -> None:
        """It ended so, with each line once and in input order, and keeps its promises."""
        self._installation.manage("verify_batch", self.id)
        output, error = self.results("output"), self.results("error")
        places = {custom_id: place for place, custom_id in enumerate(self.custom_ids)}
        for results in (output, error):
            order = [places[result["custom_id"]] for result in results]
            assert order == sorted(order)
        assert sorted(places) == sorted(result["custom_id"] for result in [*output, *error])
        assert self.row("status", "completed", "failed") == (status, len(output), failed)
        for result in output:
            answer = result["response"]["body"]["choices"][0]["message"]["content"]
            assert f'"{prompt(result["custom_id"])}' in answer


def storage_of(installation: Installation) -> Path:
    return installation.directory / "files"


def prompt(custom_id: str) -> str:
    return f"Say {custom_id} once."


class Fleet:
    """Starts workers and submits batches over one installation."""

    def __init__(self, installation: Installation, upstream: Upstream) -> None:
        self.installation = installation
        self.upstream = upstream
        installation.environment |= SETTINGS
        installation.environment["STORAGE_DIR"] = str(storage_of(installation))
        installation.environment["UPSTREAM_BASE_URL"] = upstream.url
        self._started = 0

    @contextmanager
    def worker(self, **variables: str) -> Iterator[Worker]:
        """A worker that runs until the block ends; `variables` are added to its environment."""
        environment = self.installation.environment | variables
        self._started += 1
        log = self.installation.directory / f"worker-{self._started}.log"
        with running(*COMMAND, environment=environment, log=log) as process:
            worker = Worker(process)
            wait_for(worker.is_up, "every process of the worker")
            yield worker

    def key(self, account: str) -> str:
        """The secret of a new API key."""
        command = ("create_api_key", "--account", account, "--name", "test", "--json")
        return str(json.loads(self.installation.manage(*command))["secret"])

    def submit(self, lines: int, *options: str, padding: int = 0) -> Batch:
        """Submit a batch of so many lines, each with `padding` more bytes in its prompt."""
        custom_ids = [f"line-{number}" for number in range(lines)]
        path = self.installation.directory / "input.jsonl"
        path.write_bytes(input_file(custom_ids, padding))
        command = ("submit_batch", str(path), "--endpoint", "/v1/chat/completions", *options)
        return Batch(self.installation, self.installation.manage(*command).strip(), custom_ids)


def input_file(custom_ids: Sequence[str], padding: int = 0) -> bytes:
    lines = []
    for custom_id in custom_ids:
        message = {"role": "user", "content": f"{prompt(custom_id)} {'.' * padding}"}
        body = {"model": "simulated", "messages": [message]}
        request = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions"}
        lines.append(json.dumps(request | {"body": body}).encode() + b"\n")
    return b"".join(lines)


@contextmanager
def stopped_move(
    installation: Installation, status: str, counting: int = 200_000_000
) -> Iterator[Callable[[], object]]:
    """Within the block, moving a batch to `status` stops in the midst of its transaction. Yields what lets it go on.

    counting: SQLite waits for nobody, but counts that far, and nothing lets it go on sooner.
    """
    on = f"BEFORE UPDATE OF status ON batches_batch FOR EACH ROW WHEN (NEW.status = '{status}')"
    if installation.is_sqlite:
        numbers = f"SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT {counting}"
        installation.execute(
            f"CREATE VIEW far AS WITH RECURSIVE c(x) AS ({numbers}) SELECT count(*) AS n FROM c"
        )
        installation.execute(f"CREATE TRIGGER stop {on} BEGIN SELECT n FROM far; END")
        try:
            yield lambda: None
        finally:
            installation.execute("DROP TRIGGER stop")
            installation.execute("DROP VIEW far")
        return
    installation.execute(
        "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END'"
    )
    installation.execute(f"CREATE TRIGGER stop {on} EXECUTE FUNCTION stop()")
    with psycopg.connect(installation.database_url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(1)")
        try:
            yield lambda: holder.execute("SELECT pg_advisory_unlock_all()")
        finally:
            holder.execute("SELECT pg_advisory_unlock_all()")
            installation.execute("DROP FUNCTION stop CASCADE")
