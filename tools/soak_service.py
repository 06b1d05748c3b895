"""The service under the soak: two workers and two web servers, each started again whenever it ends."""

import contextlib
import json
import os
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from tools import parts
from tools.processes import Child, Children, free_port

ROLES = ("cluster", "sentinel", "pusher", "monitor", "worker-engine", "worker-control")
SETTLE_SECONDS = 0.5  # between a look at what ended and the next
UPSTREAM_STOP_SECONDS = 20.0


class Upstream:
    """A simulated upstream that can go away and come back at the same address, and that logs every call to `log`."""

    def __init__(self, children: Children, log: Path, *options: str) -> None:
        self.log = log
        self._children = children
        self._port = free_port()
        self._options = (*options, "--log", str(log))
        self.come()

    def come(self) -> None:
        self._child = parts.start_simulator(self._children, self._port, *self._options)

    def go_away(self) -> None:
        """End it, and every call in flight without an answer; the log tells of these too."""
        self._child.ask_to_stop()
        self._child.wait(UPSTREAM_STOP_SECONDS)
        self._child.kill()

    @property
    def is_there(self) -> bool:
        return self._child.status is None

    def stats(self) -> dict[str, int]:
        """The counts since it last came."""
        url = f"http://127.0.0.1:{self._port}/stats"
        with urllib.request.urlopen(url) as answer:
            counts: dict[str, int] = json.load(answer)
        return counts


class Service:
    """What a service manager keeps running, and the processes it consists of at this moment."""

    def __init__(self, children: Children) -> None:
        self.ports = [free_port(), free_port()]
        self._children = children
        self._starters: dict[str, Callable[[], Child]] = {}
        for number, port in enumerate(self.ports, 1):
            self._add_web(f"web-{number}", port)
            self._add_worker(f"runworker-{number}")
        self._running: dict[str, Child] = {}
        self._lives = 0

    def _add_web(self, name: str, port: int) -> None:
        self._starters[name] = lambda: parts.start_web(self._children, port, 1, name)

    def _add_worker(self, name: str) -> None:
        self._starters[name] = lambda: parts.start_worker(self._children, name)

    def start(self) -> None:
        """Start every part; the web servers answer when this returns."""
        for name, starter in self._starters.items():
            self._running[name] = starter()
        for number, port in enumerate(self.ports, 1):
            parts.wait_for_web(self._running[f"web-{number}"], port)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Within the block, whatever ends is started again."""
        over = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(over,), name="keeper", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()

    def _keep(self, over: threading.Event) -> None:
        while not over.wait(SETTLE_SECONDS):
            for name, child in list(self._running.items()):
                if child.status is not None:
                    child.kill()  # whatever is left of its group
                    self._lives += 1
                    child.log.rename(child.log.with_suffix(f".{self._lives}.log"))
                    self._running[name] = self._starters[name]()

    def roots(self) -> list[tuple[str, int]]:
        """The main process of each part, with its kind: web or runworker."""
        return [(name.partition("-")[0], child.pid) for name, child in list(self._running.items())]

    def processes(self) -> dict[str, list[int]]:
        """The living processes by role: the parts themselves, and what a worker consists of."""
        tree = _tree()
        found: dict[str, list[int]] = {"web": [], "runworker": []}
        for kind, root in self.roots():
            found[kind].append(root)
            for pid, comm in _descendants(tree, root):
                role = next((role for role in ROLES if comm.startswith(role[:15])), kind)
                found.setdefault(role, []).append(pid)
        return found

    def kill_worker(self, number: int) -> None:
        """Kill a whole worker, all of its processes at once, as when its host dies."""
        root = self._running[f"runworker-{number}"].pid
        for pid in [root, *(pid for pid, _ in _descendants(_tree(), root))]:
            send(pid, signal.SIGKILL)

    def signal_all(self, number: int) -> None:
        """Send a signal to each part's main process."""
        for child in list(self._running.values()):
            send(child.pid, number)


def send(pid: int, number: int) -> bool:
    """Signal a process; False when it has ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _tree() -> dict[int, list[tuple[int, str]]]:
    """The living processes of this machine, by their parent: id and name."""
    tree: dict[int, list[tuple[int, str]]] = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(OSError):
                head, _, rest = (directory / "stat").read_text().rpartition(")")
                state, parent = rest.split()[:2]
                if state not in "ZX":
                    entry = (int(directory.name), head.partition("(")[2])
                    tree.setdefault(int(parent), []).append(entry)
    return tree


def _descendants(tree: dict[int, list[tuple[int, str]]], pid: int) -> list[tuple[int, str]]:
    found = list(tree.get(pid, []))
    for child, _ in found:
        found.extend(tree.get(child, []))  # grows while it is walked
    return found
