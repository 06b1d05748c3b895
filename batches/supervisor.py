"""The process of a worker host: starts both clusters, watches them by the rows they change, and ends them."""

import contextlib
import datetime
import enum
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping

from django.conf import settings
from django.db import Error, close_old_connections, connection

from api.clock import database_now
from batches.hints import Cluster, queue_name
from batches.models import Host, Upstream
from batches.schedule import sync_schedules
from batches.sweep import idle_work, sweep

logger = logging.getLogger(__name__)

CLUSTERS: tuple[Cluster, ...] = ("control", "engine")
TICK_SECONDS = 0.2
ROUND_SECONDS = 5
BACKOFF_SECONDS = (0.5, 10)  # first and longest pause before a cluster that ended is started again
SETTLED_SECONDS = 30  # having run so long, it may end again without a longer pause
STOP_GRACE_SECONDS = 10  # on top of BATCH_DRAIN_SECONDS


class Verdict(enum.Enum):
    FINE = enum.auto()
    RESTART = enum.auto()
    HOPELESS = enum.auto()


class StallClock:
    """Tells when a cluster has left work undone for too long, and when a restart did not help.

    seconds: how long without a break.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._restarted = False

    def observe(self, idle: bool, now: float) -> Verdict:
        """Note whether work is left undone at `now`, in seconds of a monotonic clock."""
        if not idle:
            self._since, self._restarted = None, False
        elif self._since is None:
            self._since = now
        elif now - self._since >= self._seconds:
            self._since = None
            verdict = Verdict.HOPELESS if self._restarted else Verdict.RESTART
            self._restarted = True
            return verdict
        return Verdict.FINE

    def interrupt(self) -> None:
        """Count from anew: nobody can tell what happened in between."""
        self._since = None


class Rounds(threading.Thread):
    """Everything the supervisor does in the database, apart, so that a database that hangs holds up nothing else.

    Every few seconds: keep this host's row alive, sweep, and look whether work is left undone. What it finds
    wrong is put in `verdicts`.
    """

    def __init__(self, slots: int) -> None:
        super().__init__(name="rounds", daemon=True)
        self.verdicts: queue.SimpleQueue[tuple[Cluster, Verdict]] = queue.SimpleQueue()
        self._slots = slots
        self._host_id = uuid.uuid4().hex
        self._started_at: datetime.datetime | None = None
        self._ending = threading.Event()
        self._stalls = {cluster: StallClock(settings.STALL_SECONDS) for cluster in CLUSTERS}
        self._complaint = ""

    def run(self) -> None:
        while not self._ending.is_set():
            self._round()
            self._ending.wait(ROUND_SECONDS)
        with contextlib.suppress(Error):
            Host.objects.filter(pk=self._host_id).delete()
        connection.close()

    def end(self, seconds: float) -> None:
        """Stop, take this host's row away, and wait for that at most `seconds`."""
        self._ending.set()
        self.join(seconds)

    def _round(self) -> None:
        try:
            close_old_connections()
            self._beat()
            sweep()
            self._look()
        except Error as error:
            self._complain(f"The database refused or did not answer: {error}")
        except Exception:  # a mistake in one round must not end those that keep the host alive
            logger.exception("A round failed; the next one is in %s s", ROUND_SECONDS)
        else:
            self._complain("")

    def _beat(self) -> None:
        now = database_now()
        if self._started_at is None:
            sync_schedules()
            Upstream.objects.sync_environment()
            self._started_at = now
        Host.objects.update_or_create(
            pk=self._host_id,
            defaults={
                "name": socket.gethostname(),
                "pid": os.getpid(),
                "version": settings.VERSION,
                "slots": self._slots,
                "started_at": self._started_at,
                "lease_expires_at": now + Host.LEASE,
            },
        )

    def _look(self) -> None:
        idle = idle_work(database_now())
        for cluster, stall in self._stalls.items():
            verdict = stall.observe(cluster in idle, time.monotonic())
            if verdict is not Verdict.FINE:
                self.verdicts.put((cluster, verdict))

    def _complain(self, complaint: str) -> None:
        if complaint:
            for stall in self._stalls.values():
                stall.interrupt()
        if complaint != self._complaint:  # once, not every few seconds of an outage
            logger.warning(complaint or "The database answers again")
        self._complaint = complaint


class ClusterProcess:
    """One cluster in a process group of its own, started again whenever it ends."""

    def __init__(self, cluster: Cluster, environment: Mapping[str, str]) -> None:
        self.cluster = cluster
        self._environment = {**os.environ, **environment, "Q_CLUSTER_NAME": queue_name(cluster)}
        self._pause = BACKOFF_SECONDS[0]
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._due = 0.0

    def start(self) -> None:
        parent = str(os.getpid())
        manage = str(settings.BASE_DIR / "manage.py")
        self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            [sys.executable, manage, "runcluster", self.cluster, "--parent", parent],
            env=self._environment,
            start_new_session=True,
        )
        self._started = time.monotonic()
        logger.info("The %s cluster runs as process %s", self.cluster, self._process.pid)

    def watch(self) -> None:
        """Start the cluster again if it ended, after a pause that grows while it ends young."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._due:
                self.start()
        elif not self.is_alive():
            if now - self._started > SETTLED_SECONDS:
                self._pause = BACKOFF_SECONDS[0]
            logger.warning("The %s cluster ended; starting it in %.1f s", self.cluster, self._pause)
            self._due = now + self._pause
            self._pause = min(2 * self._pause, BACKOFF_SECONDS[1])
            self.kill()

    def is_alive(self) -> bool:
        if self._process is None:
            return False
        # Without reaping it: as long as it is not reaped, no other process group can have its number.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is None

    def terminate(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill every process of the cluster and reap it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class Supervisor:
    """Runs this host's clusters until it is asked to stop.

    slots: engines this host runs at once.
    environment: what the clusters see on top of this process's environment.
    """

    def __init__(self, slots: int, environment: Mapping[str, str]) -> None:
        self._rounds = Rounds(slots)
        self._clusters = {cluster: ClusterProcess(cluster, environment) for cluster in CLUSTERS}
        self._asked = False
        self._hopeless = False

    def run(self) -> int:
        """Return the exit status: 0 when asked to stop, 1 when work is due and a restart did not set it going.

        No process is left in either case.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        for cluster in self._clusters.values():
            cluster.start()
        self._rounds.start()
        while not (self._asked or self._hopeless):
            for cluster in self._clusters.values():
                cluster.watch()
            self._heed_verdicts()
            time.sleep(TICK_SECONDS)
        self._drain()
        return 1 if self._hopeless else 0

    def _ask_to_stop(self, _number: int, _frame: object) -> None:
        self._asked = True

    def _heed_verdicts(self) -> None:
        while not self._rounds.verdicts.empty():
            cluster, verdict = self._rounds.verdicts.get()
            idle = f"Work is due, and the {cluster} cluster has done none for {settings.STALL_SECONDS:g} s"
            if verdict is Verdict.HOPELESS:
                logger.error("%s, although it was restarted; giving up", idle)
                self._hopeless = True
            else:
                logger.error("%s; restarting it", idle)
                self._clusters[cluster].kill()
                self._clusters[cluster].start()

    def _drain(self) -> None:
        seconds = settings.BATCH_DRAIN_SECONDS + STOP_GRACE_SECONDS
        logger.info("Stopping; calls in flight have up to %g s", settings.BATCH_DRAIN_SECONDS)
        deadline = time.monotonic() + seconds
        for cluster in self._clusters.values():
            cluster.terminate()
        self._rounds.end(STOP_GRACE_SECONDS)
        while time.monotonic() < deadline and any(c.is_alive() for c in self._clusters.values()):
            time.sleep(TICK_SECONDS)
        for cluster in self._clusters.values():
            if cluster.is_alive():
                logger.warning("The %s cluster did not drain in time; killed", cluster.cluster)
            cluster.kill()
