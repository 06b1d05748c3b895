"""The whole service as real processes: web server, worker and simulated upstream over one installation."""

import itertools
import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.installation import Installation, fresh_database
from tests.support.processes import running, wait_for
from tests.support.server import Server, serving

LISTENING = "simulated upstream on "
ROUNDED = 0.0005  # seconds; what the call log may have rounded up


class Stack:
    """A service that runs: where its parts are, and what an operator can do to it.

    upstream: the simulator, set back to answering at once, without failures, before each test.
    """

    def __init__(self, installation: Installation, upstream: "Upstream", server: Server) -> None:
        self.installation = installation
        self.upstream = upstream
        self.server = server
        self.url = f"http://127.0.0.1:{server.port}"

    def key(self, account: str, *options: str) -> str:
        """Make an API key as an operator does, and return its secret."""
        printed = self.installation.manage(
            "create_api_key", "--account", account, "--name", "test", "--json", *options
        )
        return str(json.loads(printed)["secret"])

    def verify(self, batch_id: str) -> None:
        """Fail the test when a promise about this ended batch does not hold in its rows and files."""
        self.installation.manage("verify_batch", batch_id)

    @contextmanager
    def broken_storage(self) -> Iterator[None]:
        """Within the block, nothing can be written to the storage."""
        place = self.server.storage / "tmp"
        away = place.with_name("away")
        place.mkdir(parents=True, exist_ok=True)
        place.rename(away)
        place.touch()  # root may write everywhere, but not into a file as if it were a directory
        try:
            yield
        finally:
            place.unlink()
            away.rename(place)


class Upstream:
    """A simulator that runs, and the log of its calls."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log

    def set(self, **options: Any) -> None:
        """Change how it answers from now on; see `simulate_upstream --help`."""
        body = json.dumps(options).encode()
        urllib.request.urlopen(self.url.removesuffix("/v1") + "/settings", body).close()

    def reset(self) -> None:
        self.set(latency=0.0, fail=0.0, reject=0.0, capacity=None, queue=0)

    def most_at_once(self, batch_id: str) -> int:
        """Return how many calls of the batch were under way at the same moment, at most."""
        calls = [json.loads(line) for line in self.log.read_text().splitlines()]
        mine = [call for call in calls if call["x-request-id"].startswith(batch_id)]
        steps = [(call["time"], 1) for call in mine]
        steps += [(call["time"] + call["seconds"] - ROUNDED, -1) for call in mine]
        return max(itertools.accumulate(step for _, step in sorted(steps)))


@contextmanager
def stack(directory: Path, variables: Mapping[str, str]) -> Iterator[Stack]:
    """Run a fresh service over a fresh database until the block ends. `variables` are its settings."""
    with fresh_database(directory) as url:
        installation = Installation(directory, url)
        installation.environment |= {"STORAGE_DIR": str(directory / "storage"), **variables}
        installation.manage("migrate", "-v0")
        with simulator(installation) as upstream:
            installation.environment["UPSTREAM_BASE_URL"] = upstream.url
            log = directory / "worker.log"
            with (
                running("runworker", environment=installation.environment, log=log),
                serving(url, directory, installation.environment) as server,
            ):
                yield Stack(installation, upstream, server)


@contextmanager
def simulator(installation: Installation) -> Iterator[Upstream]:
    """Run a simulator on a free port until the block ends."""
    log = installation.directory / "simulator.log"
    calls = installation.directory / "calls.log"
    command = ("simulate_upstream", "--log", str(calls))
    with running(*command, environment=installation.environment, log=log):
        wait_for(lambda: LISTENING in log.read_text(), "the simulator listens")
        said = next(line for line in log.read_text().splitlines() if line.startswith(LISTENING))
        yield Upstream(said.removeprefix(LISTENING), calls)
