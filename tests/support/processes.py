"""Start commands, look at their processes and end them by id. Linux only: it reads /proc."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]


def wait_for(condition: Callable[[], T], what: str, seconds: float = 90) -> T:
    """Return the first true answer of `condition`; fail the test if there is none within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return answer


@contextmanager
def running(
    *command: str, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `manage.py <command>` in a session of its own; nothing of it outlives the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), *command],
            env=dict(environment),
            cwd=ROOT,
            start_new_session=True,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        for group in {process.pid, *children(process.pid)}:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        process.wait()


def members(session: int) -> dict[int, str]:
    """Return the living processes of a session: id and name."""
    return {pid: name for pid, (name, _, of) in _processes().items() if of == session}


def children(parent: int) -> dict[int, str]:
    """Return the living children of a process: id and name."""
    return {pid: name for pid, (name, of, _) in _processes().items() if of == parent}


def named(session: int, role: str) -> list[int]:
    """Return the ids of a session's processes whose name starts with `role`."""
    return sorted(pid for pid, name in members(session).items() if name.startswith(role))


def _processes() -> dict[int, tuple[str, int, int]]:
    found = {}
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        with suppress(OSError):
            head, _, rest = (directory / "stat").read_text().rpartition(")")
            state, parent, _group, session = rest.split()[:4]
            if state not in "ZX":
                found[int(directory.name)] = (head.partition("(")[2], int(parent), int(session))
    return found
