"""Let functions race: all start at the same moment, each with a database connection of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection

T = TypeVar("T")


def race(*contenders: Callable[[], T]) -> list[T]:
    """Run the contenders at once and return what each returned; raises what one of them raised."""
    gate = threading.Barrier(len(contenders))

    def run(contender: Callable[[], T]) -> T:
        try:
            connection.ensure_connection()
            gate.wait(30)
            return contender()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(contenders)) as threads:
        runs = [threads.submit(run, contender) for contender in contenders]
        return [one.result() for one in runs]
