"""django-q2's cluster, hardened against what was measured to stop it. Pinned to django-q2 1.11.1.

What goes wrong with the stock cluster, and the cure here:

- An idle worker or the monitor is killed while it holds the queue's reader lock: the cluster reports "working"
  and runs nothing, or runs every task again and again. `PacketQueue` and `Timer` have no lock that a dead
  process could hold, no feeder thread, and no counter to lose.
- The sentinel or the main process is killed: the others live on unguarded and go on taking tasks. Here every
  process is killed by the kernel when its parent dies.
- SIGTERM to the whole process group cuts tasks in the middle and hangs the main process. Here it only sets a
  flag that all processes share, however often and to whichever process it is sent.
- A worker that dies or is recycled while the cluster stops, or a task that does not end, hangs it for ever.
  Here workers need no poison pill, and whoever is late is killed.
- At a stop everything prefetched is run first. Here it goes back to the queue.

Other systems than Linux get the stock cluster.
"""

import array
import ctypes
import errno
import fcntl
import gc
import logging
import mmap
import multiprocessing
import multiprocessing.sharedctypes
import os
import pickle
import select
import signal
import socket
import sys
import termios
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.conf import settings
from django.db import Error, connections
from django.utils import timezone
from django_q.cluster import Cluster, Sentinel, get_mp_context
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.worker import worker

logger = logging.getLogger(__name__)

PUSHER_SECONDS = 2  # to put down what it is taking
RECORD_SECONDS = 5  # to commit what a drained turn has, or to acknowledge the last tasks
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15


class Flag:
    """A yes or no shared with every process forked after it. Once set it stays set.

    One byte and no lock: setting it is safe in a signal handler, and nobody can die holding it.
    """

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def set(self) -> None:
        self._byte[0] = 1

    def is_set(self) -> bool:
        return self._byte[0] == 1

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, `seconds` at most; True if it is."""
        deadline = time.monotonic() + seconds
        while not self.is_set() and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.is_set()


_stop = Flag()


def draining() -> bool:
    """True once this process's cluster was asked to stop; a running turn looks here and hands back its shards."""
    return _stop.is_set()


class Timer:
    """Seconds a worker's task has left, shared by the worker and the guard.

    Without a lock an update may be lost. At worst an idle worker is replaced once for nothing.
    """

    def __init__(self) -> None:
        self._seconds = multiprocessing.sharedctypes.RawValue("f", -1)

    @property
    def value(self) -> float:
        return float(self._seconds.value)

    @value.setter
    def value(self, seconds: float) -> None:
        self._seconds.value = seconds

    def get_lock(self) -> AbstractContextManager[None]:
        return nullcontext()


class PacketQueue:
    """A queue between a process and its forks, in which every message is read by exactly one of them, or by none.

    A pair of packet sockets: the kernel hands over whole messages, so there is no lock, whoever is killed
    whenever. A message read by a process that then dies is lost, like the process.

    one_at_a_time: `put` waits until the message before has been read, so that next to nothing is prefetched.
    ended: when it returns True, `get` returns "STOP", which is what django-q2's loops end on.
    """

    LONGEST_RESULT = 50_000  # characters; a packet holds about 200,000 bytes

    def __init__(
        self, *, one_at_a_time: bool = False, ended: Callable[[], bool] = lambda: False
    ) -> None:
        self._reader, self._writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._one_at_a_time = one_at_a_time
        self._ended = ended

    def put(self, item: Any) -> None:
        while self._one_at_a_time and not self.empty():
            time.sleep(0.005)
        try:
            self._writer.send(pickle.dumps(item))
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            # The text of a failure can be of any length; the task itself is a hint of a few hundred bytes.
            cut = str(item["result"])[: self.LONGEST_RESULT]
            self._writer.send(pickle.dumps(item | {"result": cut}))

    def get(self) -> Any:
        while not self._ended():
            if select.select([self._reader], [], [], 0.5)[0]:
                item = self.get_nowait()
                if item is not None:
                    return item
        return "STOP"

    def get_nowait(self) -> Any:
        """Return the next message, or None."""
        try:
            packet = self._reader.recv(1024 * 1024, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        return pickle.loads(packet)  # noqa: S301 - written by our own fork

    def empty(self) -> bool:
        unread = array.array("i", [0])
        fcntl.ioctl(self._reader, termios.FIONREAD, unread)
        return unread[0] == 0

    def qsize(self) -> int:
        return 0 if self.empty() else 1

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


class SafeSentinel(Sentinel):  # type: ignore[misc]  # django-q2 declares no types
    """django-q2's guard of workers, pusher and monitor, which dies with them and they with it."""

    def __init__(self, cluster_id: uuid.UUID) -> None:
        super().__init__(_stop, Flag(), cluster_id, start=False)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the main process passes the wish to stop on
        self.task_queue = PacketQueue(one_at_a_time=True, ended=draining)
        self.result_queue = PacketQueue()
        self.event_out = _stop
        self.start()

    def spawn_worker(self) -> None:
        self.spawn_process(worker, self.task_queue, self.result_queue, Timer(), self.timeout)

    def spawn_process(self, target: Callable[..., None], *args: Any) -> Any:
        process = get_mp_context().Process(target=_run_child, args=(target, os.getpid(), args))
        process.daemon = True
        process.terminate = process.kill  # none of them ends on SIGTERM
        if target is worker:
            process.timer = args[2]
            self.pool.append(process)
        process.start()
        return process

    def stop(self) -> None:
        """End everything: running tasks within the drain time, prefetched ones back to the queue."""
        self._end([self.pusher], PUSHER_SECONDS)
        self._end(self.pool, settings.BATCH_DRAIN_SECONDS + RECORD_SECONDS)
        self.result_queue.put("STOP")
        self._end([self.monitor], RECORD_SECONDS)

    def _end(self, processes: Iterable[Any], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
            self._hand_back()  # also frees a pusher that waits for room
            time.sleep(0.05)
        for process in processes:
            if process.is_alive():
                logger.warning("%s did not end in %s s; killed", process.name, seconds)
                process.kill()
            process.join()
        self._hand_back()

    def _hand_back(self) -> None:
        while (task := self.task_queue.get_nowait()) is not None:
            try:
                OrmQ.objects.filter(pk=task["ack_id"]).update(lock=timezone.now())
            except Error as error:  # the sweep replaces the hint
                logger.warning("A prefetched task could not be handed back: %s", error)


def run_cluster() -> bool:
    """Run the cluster that Q_CLUSTER_NAME names, in the foreground, until SIGTERM or SIGINT; then drain it.

    Returns False when it ended without being asked. It ends at most BATCH_DRAIN_SECONDS + 15 s after the signal.
    """
    if sys.platform != "linux":
        return _run_stock_cluster()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ask_to_stop)
    name_process("cluster")
    connections.close_all()  # a fork must not share them
    gc.freeze()  # what is here stays: collecting garbage need not look at it again, in no process
    sentinel = get_mp_context().Process(target=_run_sentinel, args=(os.getpid(),))
    sentinel.start()
    while sentinel.is_alive() and not _stop.wait(0.5):
        pass
    sentinel.join(settings.BATCH_DRAIN_SECONDS + PUSHER_SECONDS + 2 * RECORD_SECONDS + 3)
    if sentinel.is_alive():
        logger.warning("The cluster did not drain in time; killed")
        sentinel.kill()
    return draining()


def die_with(parent: int) -> None:
    """Have the kernel kill this process as soon as its parent `parent` is dead, or now if it is."""
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the kernel knew
        os.kill(os.getpid(), signal.SIGKILL)


def name_process(role: str) -> None:
    """Show `role` and the cluster in `ps` and `top`, in the 15 bytes there are."""
    name = f"{role}-{'control' if Conf.CLUSTER_NAME == Conf.PREFIX else Conf.CLUSTER_NAME}"
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def _run_sentinel(parent: int) -> None:
    die_with(parent)
    name_process("sentinel")
    try:
        SafeSentinel(uuid.uuid4())
    except Error as error:
        sys.exit(f"The cluster cannot use the database: {error}")
    finally:
        # Whatever brought us here: leaving waits for children, and these do not end by themselves.
        for child in multiprocessing.active_children():
            child.kill()


def _run_child(target: Callable[..., None], parent: int, args: tuple[Any, ...]) -> None:
    die_with(parent)
    name_process(target.__name__)
    if target is worker:
        signal.signal(signal.SIGTERM, _ask_to_stop)
    target(*args)


def _ask_to_stop(_number: int, _frame: object) -> None:
    _stop.set()


def _run_stock_cluster() -> bool:
    logger.warning("No hardened cluster on %s: a killed process may stop it", sys.platform)
    cluster = Cluster()
    cluster.start()
    cluster.sentinel.join()
    return bool(cluster.sentinel.exitcode == 0)
