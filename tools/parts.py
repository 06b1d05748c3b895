"""The parts of a service on this machine: database, simulator, web server, worker; and when each is ready."""

import contextlib
import fcntl
import io
import json
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url
import django
from django.conf import settings
from django.core.management import call_command
from django.db import Error, connection, connections
from environs import EnvError

from tools.processes import PYTHON, Child, Children, Failed, wait_until

READY_SECONDS = 60.0
BLOCKING_THREADS = 8  # of a web process; its requests wait on the database and on disk
WEB_CONNECTIONS = 256  # of a web process, idle ones included


def environment() -> dict[str, str]:
    """What every part is started with."""
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def alone(command: str) -> Iterator[None]:
    """Only one `./run` works in DATA_DIR at a time: a second demo waits for the first.

    Raises:
        Failed: the service is up there.
    """
    with (settings.DATA_DIR / "run.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "./run"
            if "up" in (command, holder.split()[0]):
                remedy = "stop it first, or set DATA_DIR to another directory"
                raise Failed(f"{holder} is at work in {settings.DATA_DIR}: {remedy}") from None
            print(f"Waiting for the end of {holder}", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{command} (process {os.getpid()})")
        file.flush()
        yield


def set_up_django() -> None:
    """Read the settings.

    Raises:
        Failed: variables of the environment are wrong; names them all.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        django.setup()
    except (EnvError, dj_database_url.ParseError, dj_database_url.UnknownSchemeError) as reason:
        raise Failed(f"the environment is wrong: {reason}") from reason
    for name in ("httpx2", "openai"):  # the SDK says what each request was
        logging.getLogger(name).setLevel(logging.WARNING)


def prepare_database() -> None:
    """Bring the tables up to date; safe beside other processes that do the same.

    Raises:
        Failed: the database does not answer, or refuses.
    """
    try:
        call_command("migrate", verbosity=0, interactive=False)
    except Error as reason:
        raise Failed(f"the database of DATABASE_URL: {str(reason).strip()}") from reason
    connections.close_all()


def issue_key(account: str, name: str, *options: str) -> str:
    """Make an API key and return its secret, which cannot be read again."""
    answer = io.StringIO()
    call_command(
        "create_api_key", "--account", account, "--name", name, "--json", *options, stdout=answer
    )
    connections.close_all()
    return str(json.loads(answer.getvalue())["secret"])


def start_simulator(children: Children, port: int, *options: str) -> Child:
    """Start it, listening, and have the parts that follow use it."""
    command = [PYTHON, "manage.py", "simulate_upstream", "--port", str(port), *options]
    child = children.start("simulator", command)
    start = "simulated upstream on "
    line = child.wait_for_line(start, READY_SECONDS)
    children.env["UPSTREAM_BASE_URL"] = line.removeprefix(start)
    return child


def start_web(children: Children, port: int, workers: int, name: str = "web") -> Child:
    """Start the web server; `wait_for_web` tells when it answers."""
    granian = str(Path(PYTHON).with_name("granian"))
    command = [granian, "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", str(workers), "--blocking-threads", str(BLOCKING_THREADS)]
    command += ["--backpressure", str(WEB_CONNECTIONS), "--respawn-failed-workers", "--no-ws"]
    return children.start(name, [*command, "config.wsgi:application"])


def wait_for_web(web: Child, port: int) -> None:
    """Return once the service says that it is ready.

    Raises:
        Failed: the web server ended, or the time was up.
    """
    wait_until(lambda: _is_ready(f"http://127.0.0.1:{port}/readyz"), READY_SECONDS, web)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own, by http
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def start_worker(children: Children, name: str = "worker") -> Child:
    return children.start(name, [PYTHON, "manage.py", "runworker"])


def describe(upstream_url: str) -> dict[str, str]:
    """Which parts are used, without their secrets."""
    kind = "of UPSTREAM_BASE_URL" if os.environ.get("UPSTREAM_BASE_URL") else "the simulator"
    return {
        "database": _describe_database(),
        "storage": f"directory {settings.STORAGE_DIR}",
        "queue": "django-q2 on the same database",
        "upstream": f"{_without_user(upstream_url)} ({kind})",
    }


def _describe_database() -> str:
    name = connection.settings_dict["NAME"]
    version = ".".join(str(number) for number in connection.get_database_version())
    if connection.vendor == "sqlite":
        return f"SQLite {version}, {name}"
    host, port = connection.settings_dict["HOST"], connection.settings_dict["PORT"]
    return (
        f"{connection.display_name} {version}, {name} on {host or 'a local socket'} {port}".rstrip()
    )


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
