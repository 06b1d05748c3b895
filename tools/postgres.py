"""A PostgreSQL server of our own for the time of a test run, from the binaries found on the machine."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tools.processes import Failed, free_port

# Nothing here must survive a crash, and tests wait on every commit.
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
}


class Absent(Failed):
    """The machine has no PostgreSQL server to start."""


@contextlib.contextmanager
def temporary_postgres() -> Iterator[str]:
    """The URL of a running server with an empty database, gone with the block.

    Raises:
        Absent: no initdb is installed.
        Failed: the server does not start; carries what it said.
    """
    binaries = _find_binaries()
    # initdb refuses to run as root.
    user = _unprivileged_user() if os.geteuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="longshore-postgres-"))
    try:
        if user:
            shutil.chown(directory, user)
        _run_initdb(binaries, directory, user)
        with _running(binaries, directory, user) as port:
            yield f"postgres://postgres@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _find_binaries() -> Path:
    packaged = Path("/usr/lib/postgresql").glob("*/bin/initdb")  # Debian keeps them out of PATH
    newest_first = sorted(packaged, key=lambda path: -float(path.parent.parent.name))
    in_path = shutil.which("initdb")
    for initdb in [*newest_first, *([Path(in_path)] if in_path else [])]:
        if (initdb.parent / "postgres").exists():
            return initdb.parent
    raise Absent("no initdb here; install PostgreSQL (postgresql) or set TEST_DATABASE_URL")


def _unprivileged_user() -> str:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise Absent("initdb refuses to run as root, and there is no user postgres or nobody")


def _run_initdb(binaries: Path, directory: Path, user: str | None) -> None:
    command = [f"{binaries}/initdb", "-D", f"{directory}/data", "-U", "postgres", "-A", "trust"]
    command += ["--no-sync", "-E", "UTF8", "--locale=C"]
    done = subprocess.run(command, user=user, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"initdb failed: {done.stderr.strip()}")


@contextlib.contextmanager
def _running(binaries: Path, directory: Path, user: str | None) -> Iterator[int]:
    port = free_port()
    options = [f"--{name}={value}" for name, value in _SETTINGS.items()]
    command = [f"{binaries}/postgres", "-D", f"{directory}/data", "-p", str(port), *options]
    log = (directory / "log").open("w")
    server = subprocess.Popen(
        command, user=user, cwd=directory, stdout=log, stderr=log, start_new_session=True
    )
    try:
        _wait_for(server, port, directory / "log")
        yield port
    finally:
        log.close()
        server.send_signal(signal.SIGINT)  # its fast shutdown: disconnects whoever is left
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=port, user="postgres", connect_timeout=5).close()
            return
        time.sleep(0.1)
    raise Failed(f"PostgreSQL did not start: {log.read_text()[-2000:]}")
