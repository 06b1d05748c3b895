"""An installation of its own for the time of a benchmark: database, upstream, web server, worker, and their CPU."""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import cpu
from tools import parts
from tools.processes import PYTHON, ROOT, Child, Children, free_port, wait_until

SETTINGS = {
    "BATCH_MAX_REQUESTS": "2000000",
    "FILE_MAX_BYTES": str(4 << 30),
    "BATCH_FILE_MAX_BYTES": str(4 << 30),
    "LOG_LEVEL": "WARNING",
    "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
}
FOREIGN = ("DATABASE_URL", "STORAGE_DIR", "UPSTREAM_BASE_URL", "UPSTREAM_API_KEY", "UPSTREAM_LIMIT")
UPSTREAM_SECONDS = 20.0
NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000; client_body_buffer_size 64k;
    client_body_temp_path {folder}/body;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ default_type application/json; return 200 '{answer}'; }}
    }}
}}
"""
_EMPTY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1767225600,
    "model": "simulated",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 200, "completion_tokens": 180, "total_tokens": 380},
}
ANSWER_BYTES = 1200


def answer() -> str:
    """A completion of 1.2 KB, the same for every call."""
    room = ANSWER_BYTES - len(json.dumps(_EMPTY))
    message = {"role": "assistant", "content": ("word " * room)[:room]}
    return json.dumps(_EMPTY | {"choices": [_EMPTY["choices"][0] | {"message": message}]})  # type: ignore[index]


class Stage:
    """Where the processes of one benchmark live. `server`: the process of its PostgreSQL, if it is one."""

    def __init__(self, directory: Path, url: str, children: Children) -> None:
        self.directory = directory
        self.url = url
        self.children = children
        self.port = 0
        self.parts: list[Child] = []  # web and worker: what a line is charged with

    @property
    def env(self) -> dict[str, str]:
        return self.children.env

    @functools.cached_property
    def server(self) -> int | None:
        """The process id of the PostgreSQL server, when it runs on this machine."""
        if not self.url.startswith("postgres"):
            return None
        with psycopg.connect(self.url) as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            assert row
            return cpu.parent_of(row[0])

    def run(self, module: str, *arguments: str) -> Any:
        """Run a module of the benchmarks as a process of this installation; returns the JSON it prints."""
        return json.loads(self.command("-m", module, *arguments).splitlines()[-1])

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [PYTHON, *arguments], env=self.env, cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{arguments} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def key(self, account: str = "bench") -> str:
        """The secret of a new API key."""
        command = ("create_api_key", "--account", account, "--name", uuid.uuid4().hex, "--json")
        return str(json.loads(self.command("manage.py", *command))["secret"])

    def start_web(self, workers: int = 1) -> Child:
        self.port = free_port()
        web = parts.start_web(self.children, self.port, workers)
        parts.wait_for_web(web, self.port)
        self.parts.append(web)
        return web

    def start_worker(self) -> Child:
        worker = parts.start_worker(self.children)
        wait_until(lambda: len(cpu.tree(worker.pid)) >= 9, 60, worker)  # both clusters, whole
        self.parts.append(worker)
        return worker

    def spent(self) -> float:
        """CPU seconds of web and worker so far."""
        return sum(cpu.seconds(part.pid) for part in self.parts)

    def server_spent(self) -> float:
        """CPU seconds of the PostgreSQL server so far; 0 without one."""
        return cpu.seconds(self.server) if self.server else 0.0


@contextlib.contextmanager
def stage(server_url: str = "", **variables: str) -> Iterator[Stage]:
    """A migrated installation; on a new database of the PostgreSQL server at `server_url`, else on SQLite."""
    with (
        tempfile.TemporaryDirectory(prefix="longshore-bench-") as name,
        _database(server_url) as url,
    ):
        kept = {key: value for key, value in os.environ.items() if key not in FOREIGN}
        env = kept | SETTINGS | {"DATA_DIR": name, "PYTHONUNBUFFERED": "1"} | variables
        if url:
            env |= {"DATABASE_URL": url, "STORAGE_DIR": f"{name}/files"}
        with Children(Path(name) / "log", env) as children:
            made = Stage(Path(name), url, children)
            made.command("manage.py", "migrate", "-v0")
            yield made


@contextlib.contextmanager
def _database(server_url: str) -> Iterator[str]:
    if not server_url:
        yield ""
        return
    name = f"longshore_bench_{uuid.uuid4().hex[:12]}"
    base = server_url.rpartition("/")[0]
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{base}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def start_upstream(stage: Stage) -> str:
    """Start the cheapest upstream there is, nginx with a fixed answer or else the simulator; returns its name."""
    nginx = shutil.which("nginx")
    if not nginx:
        parts.start_simulator(stage.children, free_port())
        return "the simulator"
    port = free_port()
    configuration = stage.directory / "nginx.conf"
    configuration.write_text(NGINX.format(folder=stage.directory, port=port, answer=answer()))
    child = stage.children.start("upstream", [nginx, "-c", str(configuration)])
    wait_until(lambda: cpu.listens(port), UPSTREAM_SECONDS, child)
    stage.children.env["UPSTREAM_BASE_URL"] = f"http://127.0.0.1:{port}/v1"
    return "nginx"
