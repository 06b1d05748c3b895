"""F36, F37: the clock of a host jumps while batches run. On SQLite that is the only clock there is; on PostgreSQL leases
and windows go by the server's, which goes on as before.
"""

import datetime
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fleet import Batch, Fleet
from tests.support.installation import Installation
from tests.support.processes import wait_for

pytestmark = pytest.mark.e2e
LINES = 200
IN_FLIGHT = 20  # two engines of ten
HOUR, DAY = 3600, 86400
Jump = Callable[[int], None]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What moves the clock that Python's datetime reads: only a library loaded before libc can, and only C makes one."""
    cc = shutil.which("cc")
    if cc is None:
        pytest.skip("no C compiler here (gcc) to build the clock with")
    path = tmp_path_factory.mktemp("clock") / "clock.so"
    source = Path(__file__).parent.parent / "support/clock.c"
    subprocess.run([cc, "-shared", "-fPIC", "-O1", "-o", str(path), str(source)], check=True)
    return path


@pytest.fixture
def jump(library: Path, fleet: Fleet) -> Jump:
    """Sets the clock of every process that is started from now on so many seconds off the right time."""
    offset = fleet.installation.directory / "offset"

    def set_off(seconds: int) -> None:
        with offset.open("r+b") as file:  # in place: it is mapped into the processes
            file.write(seconds.to_bytes(8, "little", signed=True))

    offset.write_bytes(bytes(8))
    fleet.installation.environment |= {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}
    return set_off


def _running(fleet: Fleet) -> Batch:
    fleet.upstream.set(latency=0.5)
    batch = fleet.submit(LINES)
    batch.wait_for_results(20)
    return batch


def _host_time(installation: Installation) -> datetime.datetime:
    code = "from django.utils.timezone import now; print(now().isoformat())"
    printed = installation.manage("shell", "--verbosity", "0", "-c", code)
    return datetime.datetime.fromisoformat(printed.strip())


def test_the_clock_does_jump(fleet: Fleet, jump: Jump) -> None:
    before = _host_time(fleet.installation)
    jump(-HOUR)
    assert _host_time(fleet.installation) < before - datetime.timedelta(seconds=HOUR / 2)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, -DAY])
def test_a_jump_in_mid_calls_loses_nothing(fleet: Fleet, jump: Jump, seconds: int) -> None:
    """Ahead, every lease has lapsed at once: at worst others call again what was in flight."""
    with fleet.worker(), fleet.worker():
        batch = _running(fleet)
        jump(seconds)
        batch.wait_until("completed")
    batch.assert_whole()
    assert fleet.upstream.called() - LINES <= 4 * IN_FLIGHT


def test_the_lines_of_the_dead_go_on_although_the_clock_went_back(fleet: Fleet, jump: Jump) -> None:
    """By the new time the leases of the dead worker would last for another day."""
    with fleet.worker() as worker:
        batch = _running(fleet)
        worker.kill()
    jump(-DAY)
    with fleet.worker():
        batch.wait_until("completed")
    batch.assert_whole()


def test_a_step_whose_worker_died_goes_on_although_the_clock_went_back(
    fleet: Fleet, jump: Jump
) -> None:
    batch = fleet.submit(LINES)
    lease = "UPDATE batches_batch SET step_lease_expires_at = ?"
    fleet.installation.execute(lease, fleet.installation.now(later=5))
    jump(-DAY)
    with fleet.worker():
        batch.wait_until("completed")
    batch.assert_whole()


def test_a_window_that_a_jump_closes_is_closed_in_order(fleet: Fleet, jump: Jump) -> None:
    with fleet.worker():
        batch = _running(fleet)
        jump(DAY + HOUR)
        if fleet.installation.is_sqlite:
            batch.wait_until("expired")
            completed = int(batch.row("completed")[0])
            batch.assert_whole("expired", failed=LINES - completed)
        else:
            batch.wait_until("completed")
            batch.assert_whole()
        jump(0)
        again = fleet.submit(20)
        again.wait_until("completed")
    again.assert_whole()
    wait_for(lambda: fleet.upstream.stats()["in_flight"] == 0, "the last call to end")
