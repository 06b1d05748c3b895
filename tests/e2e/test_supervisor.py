"""`runworker` as real processes: what it starts again, what it ends, and that nothing outlives it."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.installation import Installation
from tests.support.processes import children, members, named, running, wait_for

pytestmark = pytest.mark.e2e


class Worker:
    """A started `runworker`: its clusters, its rows and its end."""

    def __init__(self, process: subprocess.Popen[bytes], installation: Installation) -> None:
        self.process = process
        self.installation = installation
        self.sessions = {process.pid}

    def cluster(self, name: str) -> int | None:
        """The main process of a cluster that has all its workers, or None."""
        for pid, title in children(self.process.pid).items():
            if title == f"cluster-{name}"[:15] and len(named(pid, "worker")) == 2:
                self.sessions.add(pid)
                return pid
        return None

    def hosts(self) -> int:
        return int(self.installation.execute("SELECT count(*) FROM batches_host")[0][0])

    def is_up(self) -> bool:
        return bool(self.cluster("control") and self.cluster("engine") and self.hosts())

    def is_gone(self) -> bool:
        ended = self.process.poll() is not None
        return ended and not any(members(session) for session in self.sessions)

    def stage_batch(self, status: str = "finalizing") -> None:
        """Write a batch whose step is not due yet: who stops the cluster first needs no luck."""
        self.send("stage_batch", status)
        batches = "SELECT count(*) FROM batches_batch"
        wait_for(lambda: self.installation.execute(batches) == [(1,)], "a batch")

    def lease_step(self, seconds: float) -> None:
        """Let the lease of the batch's step end so many seconds from now; the step is due once it has ended."""
        lease = "UPDATE batches_batch SET step_lease_expires_at = ?"
        self.installation.execute(lease, self.installation.now(seconds))

    def send(self, task: str, *args: str, queue: str = "longshore") -> None:
        self.installation.enqueue(f"tests.e2e.probe_tasks.{task}", *args, queue=queue)

    def wait_for_note(self, word: str) -> None:
        log = self.installation.directory / "probe.log"
        wait_for(
            lambda: log.exists() and f"{word} " in log.read_text(), f"the task that notes {word!r}"
        )


@pytest.fixture
def worker(installation: Installation, request: pytest.FixtureRequest) -> Iterator[Worker]:
    environment = installation.environment | getattr(request, "param", {})
    command = ("runworker", "--control-workers", "2", "--engine-workers", "2")
    log = installation.directory / "worker.log"
    with running(*command, environment=environment, log=log) as process:
        worker = Worker(process, installation)
        wait_for(worker.is_up, "both clusters and the host's row")
        yield worker


def test_sigterm_drains_and_takes_the_hosts_row_away(worker: Worker) -> None:
    worker.send("run_until_drained", "turn", queue="engine")
    worker.wait_for_note("turn-started")
    worker.process.terminate()
    wait_for(worker.is_gone, "every process to end")
    assert worker.process.returncode == 0
    worker.wait_for_note("turn-drained")
    assert worker.hosts() == 0


def test_repeated_sigterm_to_every_process_ends_all_of_them(worker: Worker) -> None:
    worker.send("run_until_drained", "turn", queue="engine")
    worker.wait_for_note("turn-started")
    for _ in range(2):
        for session in worker.sessions:
            os.killpg(session, signal.SIGTERM)
    wait_for(worker.is_gone, "every process to end")
    assert worker.process.returncode == 0
    worker.wait_for_note("turn-drained")


def test_nothing_outlives_a_killed_supervisor(worker: Worker) -> None:
    worker.send("never_end", "task")
    worker.wait_for_note("task-started")
    worker.process.kill()
    wait_for(worker.is_gone, "every process to end")


@pytest.mark.parametrize("role", ["sentinel", "cluster"])
def test_a_cluster_that_ended_is_started_again(worker: Worker, role: str) -> None:
    for name, queue in (("control", "longshore"), ("engine", "engine")):
        old = worker.cluster(name)
        assert old is not None
        os.kill(named(old, role)[0], signal.SIGKILL)
        wait_for(
            lambda name=name, old=old: worker.cluster(name) not in (None, old), f"a new {name}"
        )
        worker.send("note", name, queue=queue)
        worker.wait_for_note(name)


@pytest.mark.parametrize("worker", [{"STALL_SECONDS": "2"}], indirect=True)
def test_a_cluster_that_does_nothing_is_replaced_and_the_other_left_alone(worker: Worker) -> None:
    control, engine = worker.cluster("control"), worker.cluster("engine")
    assert control is not None
    worker.stage_batch()
    with worker.installation.between_writes():
        os.killpg(control, signal.SIGSTOP)
    worker.lease_step(-60)
    wait_for(lambda: not members(control), "the frozen cluster to end")
    worker.lease_step(60)  # else a new one that starts slowly would be hopeless
    wait_for(lambda: worker.cluster("control") not in (None, control), "a new control cluster")
    assert not members(control)
    assert worker.cluster("engine") == engine


@pytest.mark.parametrize("worker", [{"STALL_SECONDS": "2"}], indirect=True)
def test_it_gives_up_when_a_restart_does_not_help(worker: Worker) -> None:
    worker.stage_batch()
    with worker.installation.losing_hints():
        worker.lease_step(-60)
        wait_for(worker.is_gone, "the worker to give up", 90)
    assert worker.process.returncode == 1
    log = (worker.installation.directory / "worker.log").read_text()
    assert "giving up" in log


def test_a_step_is_done_although_the_queue_is_emptied_again_and_again(worker: Worker) -> None:
    worker.stage_batch("cancelling")
    worker.lease_step(-60)
    emptied = time.monotonic()

    def is_cancelled() -> bool:
        nonlocal emptied
        if time.monotonic() - emptied > 2:
            emptied = time.monotonic()
            worker.installation.execute("DELETE FROM django_q_ormq")
        return worker.installation.execute("SELECT status FROM batches_batch") == [("cancelled",)]

    wait_for(is_cancelled, "the batch to be cancelled", 60)


def test_it_waits_for_a_database_that_is_not_there_yet(installation: Installation) -> None:
    environment = installation.environment | {
        "DATABASE_URL": f"sqlite:///{installation.directory / 'nothing' / 'db.sqlite3'}"
    }
    log = installation.directory / "worker.log"
    with running("runworker", environment=environment, log=log) as process:
        wait_for(lambda: "did not answer" in log.read_text(), "the complaint about the database")
        wait_for(
            lambda: log.read_text().count("ended; starting it") >= 3, "clusters to be tried again"
        )
        assert process.poll() is None
        process.terminate()
        assert process.wait(30) == 0
        assert log.read_text().count("did not answer") == 1
