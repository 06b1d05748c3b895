"""`./run up`: the service with a worker, and a simulator unless UPSTREAM_BASE_URL is set, until Ctrl-C."""

import argparse
import os
import secrets
import sys
import time
from collections.abc import Callable

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connections

from tools import parts
from tools.processes import Child, Children, Echo, Failed, free_port, signals_as_interrupts

ACCOUNT = "main"
OPERATOR = "operator"
FIRST_PORT = 8000
WEB_WORKERS = 2
LOOK_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
STEADY_SECONDS = 30.0  # a part that ran this long starts again without a longer pause


class Part:
    """One part of the service, started again whenever it ends: at once, then after longer and longer pauses."""

    def __init__(self, name: str, start: Callable[[], Child]) -> None:
        self.name = name
        self._start = start
        self._pause = LOOK_SECONDS
        self._due: float | None = None  # when to start again; None while it runs
        self._started = time.monotonic()
        self.child = start()

    def look_after(self, now: float) -> None:
        """Start it again if it has ended and its pause is over."""
        if self._due is None and self.child.status is not None:
            steady = now - self._started > STEADY_SECONDS
            self._pause = LOOK_SECONDS if steady else min(self._pause * 2, LONGEST_PAUSE_SECONDS)
            self._due = now + self._pause
            say(
                f"{self.name} ended with status {self.child.status}; starts again in {self._pause:.0f} s"
            )
        elif self._due is not None and now >= self._due:
            self.child, self._started, self._due = self._start(), now, None


def say(text: str) -> None:
    print(text, flush=True)


def prefixed(name: str) -> Echo:
    """Writes each line of a part with the part's name before it."""
    return lambda line: say(f"{name:>9} | {line.rstrip()}")


def run_up(first_port: int) -> None:
    """Serve until interrupted; everything that was started has ended when this returns or raises.

    Raises:
        Failed: the service did not become ready.
    """
    logs = settings.DATA_DIR / "log"
    with parts.alone("up"), Children(logs, parts.environment(), prefixed) as children:
        parts.prepare_database()
        running = start_parts(children, free_port(first_port))
        while True:
            time.sleep(LOOK_SECONDS)
            for part in running:
                part.look_after(time.monotonic())


def start_parts(children: Children, port: int) -> list[Part]:
    """The parts, all of them ready; tells where they are to be found."""
    running = []
    if not os.environ.get("UPSTREAM_BASE_URL"):
        own_port = free_port()  # the same at each start, for the others know it
        running.append(Part("simulator", lambda: parts.start_simulator(children, own_port)))
    web = Part("web", lambda: parts.start_web(children, port, WEB_WORKERS))
    worker = Part("worker", lambda: parts.start_worker(children))
    parts.wait_for_web(web.child, port)
    greet(f"http://127.0.0.1:{port}", children.env["UPSTREAM_BASE_URL"])
    return [*running, web, worker]


def greet(url: str, upstream: str) -> None:
    lines = {"service": f"{url}/api/v1/llm", "admin": f"{url}/admin/", "docs": f"{url}/docs/"}
    for name, value in {**lines, **parts.describe(upstream), **make_first_accounts()}.items():
        say(f"{name:>9} : {value}")


def make_first_accounts() -> dict[str, str]:
    """An API key and an operator, each made and told once: on the first start."""
    made = {"key": f"./run manage create_api_key --account {ACCOUNT} --name NAME makes another"}
    if not apps.get_model("accounts", "ApiKey").objects.filter(account__name=ACCOUNT).exists():
        secret = parts.issue_key(ACCOUNT, "first")
        made["key"] = f"{secret} (of the account {ACCOUNT}; it is not shown again)"
    users = get_user_model().objects
    if not users.filter(is_superuser=True).exists():
        password = secrets.token_urlsafe(15)
        users.create_superuser(username=OPERATOR, password=password)
        made["operator"] = f"{OPERATOR} / {password} (for the admin; it is not shown again)"
    connections.close_all()
    return made


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run up", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=FIRST_PORT, help="this one or the next free one"
    )
    arguments = parser.parse_args()
    try:
        with signals_as_interrupts():
            parts.set_up_django()
            run_up(arguments.port)
    except Failed as reason:
        print(f"./run: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
