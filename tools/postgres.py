"""A PostgreSQL server of our own for the time of a test run, from the binaries found on the machine."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg

from tools.processes import Failed, free_port

# Nothing here must survive a crash of the machine, and tests wait on every commit.
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


class Server:
    """A server over one directory, started and stopped as often as needed, always on the same port."""

    def __init__(
        self, binaries: Path, directory: Path, user: str | None, settings: Mapping[str, str]
    ) -> None:
        port = free_port()
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = [f"{binaries}/postgres", "-D", f"{directory}/data", "-p", str(port), *options]
        self.url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        self._command, self._directory, self._user = command, directory, user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers.

        Raises:
            Failed: it does not start; carries what it said.
        """
        with (self._directory / "log").open("a") as log:
            self._process = subprocess.Popen(
                self._command,
                user=self._user,
                cwd=self._directory,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url, connect_timeout=5).close()
                return
            time.sleep(0.1)
        said = (self._directory / "log").read_text()
        raise Failed(f"PostgreSQL did not start: {said[-2000:]}")

    def stop(self) -> None:
        """End it in order, disconnecting whoever is left."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """End it at once; its next start has to recover."""
        self._end(signal.SIGQUIT)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextlib.contextmanager
def temporary_server(**settings: str) -> Iterator[Server]:
    """A running server with an empty database, gone with the block. `settings` are laid over the quick ones.

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
        server = Server(binaries, directory, user, {**_SETTINGS, **settings})
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def temporary_postgres() -> Iterator[str]:
    """The URL of a running server with an empty database, gone with the block. Raises as `temporary_server`."""
    with temporary_server() as server:
        yield server.url


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
