"""The hardened cluster, as real processes: what killed the stock one is done to it here."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.processes import members, named, running, wait_for

pytestmark = pytest.mark.e2e
GRACE = 20  # what takes longer has hung


class Cluster:
    """A running engine cluster and the probe tasks that are sent to it."""

    def __init__(self, process: subprocess.Popen[bytes], installation: Installation) -> None:
        self.process = process
        self.installation = installation

    def send(self, task: str, word: str) -> None:
        self.installation.enqueue(f"tests.e2e.probe_tasks.{task}", word, queue="engine")

    def notes(self) -> list[str]:
        log = self.installation.directory / "probe.log"
        return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []

    def wait_for_note(self, word: str) -> None:
        wait_for(lambda: word in self.notes(), f"the task that notes {word!r}", GRACE)

    def pids(self, role: str) -> list[int]:
        return named(self.process.pid, role)

    def queued(self) -> int:
        return int(self.installation.execute("SELECT count(*) FROM django_q_ormq")[0][0])

    def is_up(self) -> bool:
        return [len(self.pids(role)) for role in ("worker", "monitor", "pusher")] == [2, 1, 1]

    def is_gone(self) -> bool:
        return self.process.poll() is not None and not members(self.process.pid)


StartCluster = Callable[[], AbstractContextManager[Cluster]]


@contextmanager
def _started(installation: Installation, log: Path) -> Iterator[Cluster]:
    environment = installation.environment | {"Q_CLUSTER_NAME": "engine", "ENGINE_WORKERS": "2"}
    with running("runcluster", "engine", environment=environment, log=log) as process:
        cluster = Cluster(process, installation)
        wait_for(cluster.is_up, "the cluster to be up")
        yield cluster


@pytest.fixture
def start(installation: Installation) -> StartCluster:
    return partial(_started, installation, installation.directory / "cluster.log")


def _kill(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_tasks_run_after_every_idle_worker_was_killed(start: StartCluster) -> None:
    with start() as cluster:
        for round_number in range(3):
            dead = cluster.pids("worker")
            _kill(dead)
            for number in range(4):
                cluster.send("note", f"{round_number}.{number}")
            for number in range(4):
                cluster.wait_for_note(f"{round_number}.{number}")
            wait_for(cluster.is_up, "two workers again")


@pytest.mark.parametrize("role", ["monitor", "pusher"])
def test_a_task_runs_once_and_leaves_the_queue_after_a_kill(start: StartCluster, role: str) -> None:
    with start() as cluster:
        dead = cluster.pids(role)
        _kill(dead)
        wait_for(lambda: cluster.is_up() and cluster.pids(role) != dead, f"another {role}")
        cluster.send("note", "once")
        cluster.wait_for_note("once")
        wait_for(lambda: cluster.queued() == 0, "the task to be acknowledged", GRACE)
        assert cluster.notes() == ["once"]


def test_a_failure_of_any_length_is_acknowledged(start: StartCluster) -> None:
    with start() as cluster:
        workers = cluster.pids("worker")
        cluster.send("fail_at_length", "failed")
        wait_for(lambda: cluster.queued() == 0, "the task to be acknowledged", GRACE)
        assert cluster.notes() == ["failed"]
        assert cluster.pids("worker") == workers


@pytest.mark.parametrize("role", ["sentinel", "cluster"])
def test_nothing_outlives_the_sentinel_or_the_main_process(start: StartCluster, role: str) -> None:
    with start() as cluster:
        cluster.send("never_end", "task")
        cluster.wait_for_note("task-started")
        _kill(cluster.pids(role))
        wait_for(cluster.is_gone, "every process to end", GRACE)
        assert cluster.process.returncode != 0


def test_a_group_sigterm_drains_and_hands_prefetched_tasks_back(start: StartCluster) -> None:
    with start() as cluster:
        for word in ("a", "b", "c", "d", "e"):
            cluster.send("run_until_drained", word)
        wait_for(lambda: len(cluster.notes()) == 2, "two tasks to run")
        unlocked = "SELECT count(*) FROM django_q_ormq WHERE lock <= ?"
        for _ in range(3):
            os.killpg(cluster.process.pid, signal.SIGTERM)
        wait_for(cluster.is_gone, "every process to end", GRACE)
        assert cluster.process.returncode == 0
        started = {note.partition("-")[0] for note in cluster.notes()}
        assert sorted(cluster.notes()) == sorted(
            f"{word}-{what}" for word in started for what in ("started", "drained")
        )
        assert cluster.queued() == 5 - len(started)
        clock = cluster.installation.now()
        assert cluster.installation.execute(unlocked, clock) == [(5 - len(started),)]


def test_a_task_that_does_not_end_does_not_hold_up_the_stop(
    start: StartCluster, installation: Installation
) -> None:
    installation.environment["BATCH_DRAIN_SECONDS"] = "0"
    with start() as cluster:
        cluster.send("never_end", "task")
        cluster.wait_for_note("task-started")
        cluster.process.terminate()
        wait_for(cluster.is_gone, "every process to end", GRACE)
        assert cluster.process.returncode == 0
        # The sentinel ended it in order; the main process did not have to kill the sentinel.
        assert "did not drain" not in (installation.directory / "cluster.log").read_text()


def test_a_worker_killed_while_the_cluster_stops_does_not_hold_it_up(start: StartCluster) -> None:
    with start() as cluster:
        cluster.send("never_end", "task")
        cluster.wait_for_note("task-started")
        cluster.process.terminate()
        wait_for(lambda: not cluster.pids("pusher"), "the stop to begin")
        _kill(cluster.pids("worker"))
        wait_for(cluster.is_gone, "every process to end", GRACE)
        assert cluster.process.returncode == 0


def test_the_wrong_queue_name_is_refused(installation: Installation) -> None:
    log = installation.directory / "cluster.log"
    with running("runcluster", "engine", environment=installation.environment, log=log) as process:
        assert process.wait(GRACE) == 1
    assert "Set Q_CLUSTER_NAME=engine" in log.read_text()
