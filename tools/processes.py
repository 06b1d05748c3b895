"""Child processes, each the leader of its own group, which never outlive the `with` block they belong to."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
STOP_SECONDS = 40.0  # a worker drains its calls in flight before it ends
TAIL_LINES = 20

Echo = Callable[[str], None]


class Failed(Exception):
    """What went wrong and what to look at, for a person."""


class Child:
    """A running process; its output goes to a log file, its last lines are kept, each line can be echoed."""

    def __init__(
        self,
        name: str,
        command: list[str],
        env: Mapping[str, str],
        log: Path,
        echo: Echo | None = None,
    ) -> None:
        self.name, self.log = name, log
        self._last: deque[str] = deque(maxlen=TAIL_LINES)
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, args=(echo,), daemon=True)
        self._reader.start()

    def _read(self, echo: Echo | None) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output, self.log.open("w") as log:
            for line in output:
                log.write(line)
                log.flush()
                self._last.append(line.rstrip("\n"))
                if echo:
                    echo(line)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """None while it runs, else its exit status."""
        return self._process.poll()

    @property
    def last_lines(self) -> list[str]:
        return list(self._last)

    def check(self) -> None:
        """Return while the process runs.

        Raises:
            Failed: it ended; carries the last lines it wrote.
        """
        if self.status is not None:
            self._reader.join(timeout=2)
            written = "\n".join(f"    {line}" for line in self.last_lines) or "    (nothing)"
            text = (
                f"{self.name} ended with status {self.status}; its last lines (all in {self.log}):"
            )
            raise Failed(f"{text}\n{written}")

    def wait_for_line(self, start: str, seconds: float) -> str:
        """The first recent line that begins with `start`.

        Raises:
            Failed: the process ended, or the time was up.
        """
        wait_until(lambda: any(line.startswith(start) for line in self.last_lines), seconds, self)
        return next(line for line in self.last_lines if line.startswith(start))

    def ask_to_stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait for the end that was asked for, `seconds` at most."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=max(seconds, 0))

    def kill(self) -> None:
        """End the process and whatever is left of its group, now."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(timeout=2)


class Children:
    """The processes of one command. Leaving the `with` block stops them all, in the reverse of their order.

    One at a time, so that a worker's calls can end while the simulator still answers them.
    """

    def __init__(
        self, logs: Path, env: Mapping[str, str], echo: Callable[[str], Echo] | None = None
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs, self._echo = logs, echo
        self.env = dict(env)
        self._running: dict[str, Child] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        children = list(reversed(self._running.values()))
        deadline = time.monotonic() + STOP_SECONDS
        try:
            for child in children:
                child.ask_to_stop()
                child.wait(deadline - time.monotonic())
        except KeyboardInterrupt:
            pass  # a second Ctrl-C: no more waiting
        finally:
            for child in children:
                child.kill()

    def start(self, name: str, command: list[str]) -> Child:
        echo = self._echo(name) if self._echo else None
        child = Child(name, command, self.env, self._logs / f"{name}.log", echo)
        self._running[name] = child
        return child

    def check(self) -> None:
        """Raises Failed when one of them has ended."""
        for child in self._running.values():
            child.check()


def wait_until(condition: Callable[[], bool], seconds: float, *watched: Child) -> None:
    """Return once the condition holds.

    Raises:
        Failed: a watched process ended first, or the time was up.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        for child in watched:
            child.check()
        if time.monotonic() > deadline:
            names = " and ".join(child.name for child in watched)
            raise Failed(f"{names} was not ready after {seconds:.0f} s; see {watched[0].log}")
        time.sleep(0.05)


@contextlib.contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that what it started is stopped."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def free_port(first: int = 0) -> int:
    """A free port of 127.0.0.1: the next from `first` on, or any."""
    for port in range(first, first + 100) if first else [0]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As servers do: a port whose last connections are in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise Failed(f"no port from {first} to {first + 99} is free on 127.0.0.1")
