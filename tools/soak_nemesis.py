"""What goes wrong during a soak: kills, freezes, restarts, lost queues and crashes of the database, drawn by seed."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeVar

from django.db import Error, connection

from tools.postgres import Server
from tools.soak_service import ROLES, Service, send, thaw

T = TypeVar("T")
PAUSE_SECONDS = (1.0, 8.0)  # between two faults
FREEZE_SECONDS = (5.0, 40.0)
DATABASE_AWAY_SECONDS = (0.0, 10.0)


class Nemesis(threading.Thread):
    """Does harm until told to stop, then leaves nothing frozen and the database up.

    counts: faults that took place, by kind.
    """

    def __init__(self, service: Service, database: Server | None, seed: int) -> None:
        super().__init__(name="nemesis", daemon=True)
        self.counts: Counter[str] = Counter()
        self.failure: Exception | None = None
        self._service = service
        self._database = database
        self._random = random.Random(seed)  # noqa: S311 - to be repeatable
        self._over = threading.Event()
        self._frozen: list[tuple[float, int]] = []  # when to thaw, and which process
        strikes = [
            *[self._kill_one] * 10,
            *[self._freeze_one] * 4,
            *[self._empty_queue] * 3,
            self._restart_everything,
            self._kill_everything,
            *[self._crash_database] * (2 if database else 0),
        ]
        self._strikes = self._dealt(strikes)
        self._roles = self._dealt([*ROLES, "web", "runworker"])

    def run(self) -> None:
        try:
            while not self._over.wait(self._random.uniform(*PAUSE_SECONDS)):
                self._thaw(time.monotonic())
                next(self._strikes)()
        except Exception as error:  # noqa: BLE001 - the soak ends with it
            self.failure = error
        finally:
            self._thaw(float("inf"))
            connection.close()

    def end(self) -> None:
        """Stop, and return when everything may run again."""
        self._over.set()
        self.join()

    def _thaw(self, now: float) -> None:
        for until, pid in self._frozen:
            if until <= now:
                thaw(pid)
        self._frozen = [entry for entry in self._frozen if entry[0] > now]

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
            seconds = self._random.uniform(*FREEZE_SECONDS)
            self._frozen.append((time.monotonic() + seconds, chosen[1]))
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
