"""What goes wrong during a soak: kills, freezes, restarts, lost queues, lost connections, crashes of the database and
outages of the upstream, drawn by seed.
"""

import functools
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from django.db import Error, connection

from tools.postgres import Server
from tools.soak_service import ROLES, Service, Upstream, send

T = TypeVar("T")
PAUSE_SECONDS = (1.0, 8.0)  # between two faults
FREEZE_SECONDS = (5.0, 40.0)
DATABASE_AWAY_SECONDS = (0.0, 10.0)
LONGEST_OUTAGE_SECONDS = 120.0  # of the upstream
OUTAGE_SHARE = 1 / 8  # of the run, at most


class Nemesis(threading.Thread):
    """Does harm until told to stop, then leaves nothing frozen, and database and upstream up.

    counts: faults that took place, by kind.
    """

    def __init__(
        self,
        service: Service,
        upstream: Upstream,
        database: Server | None,
        seed: int,
        seconds: float,
    ) -> None:
        """seconds: how long it will go on, as far as anybody knows."""
        super().__init__(name="nemesis", daemon=True)
        self.counts: Counter[str] = Counter()
        self.outage_seconds = 0.0  # of the upstream
        self.failure: Exception | None = None
        self._service = service
        self._upstream = upstream
        self._longest_outage = min(LONGEST_OUTAGE_SECONDS, seconds * OUTAGE_SHARE)
        self._database = database
        self._random = random.Random(seed)  # noqa: S311 - to be repeatable
        self._over = threading.Event()
        self._repairs: list[tuple[float, Callable[[], object]]] = []  # what to do, and when
        strikes = [
            *[self._kill_one] * 10,
            *[self._freeze_one] * 4,
            *[self._empty_queue] * 3,
            self._restart_everything,
            self._kill_everything,
            self._take_upstream_away,
            *[self._crash_database] * (2 if database else 0),
            *[self._disconnect_everybody] * (3 if database else 0),
        ]
        self._strikes = self._dealt(strikes)
        self._roles = self._dealt([*ROLES, "web", "runworker"])

    def run(self) -> None:
        try:
            while not self._over.wait(self._random.uniform(*PAUSE_SECONDS)):
                self._repair(time.monotonic())
                next(self._strikes)()
        except Exception as error:  # noqa: BLE001 - the soak ends with it
            self.failure = error
        finally:
            self._repair(float("inf"))
            connection.close()

    def end(self) -> None:
        """Stop, and return when everything may run again."""
        self._over.set()
        self.join()

    def _repair(self, now: float) -> None:
        due = [repair for at, repair in self._repairs if at <= now]
        self._repairs = [entry for entry in self._repairs if entry[0] > now]
        for repair in due:
            repair()

    def _repair_after(self, seconds: float, repair: Callable[[], object]) -> None:
        self._repairs.append((time.monotonic() + seconds, repair))

    def _dealt(self, cards: Sequence[T]) -> Iterator[T]:
        """Each card once, in any order, and then all of them again."""
        while True:
            yield from self._random.sample(cards, len(cards))

    def _choose(self) -> tuple[str, int] | None:
        """The next role and one of its processes, if there is any at the moment."""
        role = next(self._roles)
        pids = self._service.processes().get(role)
        return (role, self._random.choice(pids)) if pids else None

    def _kill_one(self) -> None:
        chosen = self._choose()
        if chosen and send(chosen[1], signal.SIGKILL):
            self.counts[f"killed: {chosen[0]}"] += 1

    def _freeze_one(self) -> None:
        chosen = self._choose()
        if chosen and send(chosen[1], signal.SIGSTOP):
            thaw = functools.partial(send, chosen[1], signal.SIGCONT)
            self._repair_after(self._random.uniform(*FREEZE_SECONDS), thaw)
            self.counts[f"frozen: {chosen[0]}"] += 1

    def _empty_queue(self) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM django_q_ormq")
        except Error:
            return  # the database is away, or locked by a process that is frozen
        finally:
            connection.close()
        self.counts["queue emptied"] += 1

    def _restart_everything(self) -> None:
        self._service.signal_all(signal.SIGTERM)
        self.counts["everything restarted"] += 1

    def _kill_everything(self) -> None:
        for pids in self._service.processes().values():
            for pid in pids:
                send(pid, signal.SIGKILL)
        self.counts["everything killed"] += 1

    def _crash_database(self) -> None:
        assert self._database is not None
        self._database.crash()
        self._over.wait(self._random.uniform(*DATABASE_AWAY_SECONDS))
        self._database.start()
        self.counts["database crashed"] += 1

    def _disconnect_everybody(self) -> None:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {others}"  # noqa: S608
                )
        except Error:
            return  # the database is away
        finally:
            connection.close()
        self.counts["database connections cut"] += 1

    def _take_upstream_away(self) -> None:
        if not self._upstream.is_there:
            return
        self._upstream.go_away()
        seconds = self._random.uniform(self._longest_outage / 4, self._longest_outage)
        self._repair_after(seconds, self._upstream.come)
        self.counts["upstream down"] += 1
        self.outage_seconds += seconds
