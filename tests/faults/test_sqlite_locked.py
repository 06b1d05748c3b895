"""F68: somebody holds SQLite's one lock for longer than anybody waits for it; the turn goes on when it is let go."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from django.db import connection, connections

from accounts.models import Account
from batches import results
from batches.execution import run_turn
from batches.models import Batch, Status
from batches.verification import verify
from tests.batches.executor.scripted import Call, reply
from tests.batches.factories import start
from tests.batches.test_execution import model_server

# PostgreSQL has no lock of the whole database.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.only_on("sqlite")]
LINES = 12
PATIENCE_SECONDS = 0.2  # of every writer; 20 by default
HELD_SECONDS = 10 * PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def _impatient() -> Iterator[None]:
    options = connections.settings["default"]["OPTIONS"]
    before = options["timeout"]
    options["timeout"] = PATIENCE_SECONDS  # of connections that are made from now on
    yield
    options["timeout"] = before


@contextmanager
def locked() -> Iterator[None]:
    with closing(sqlite3.connect(str(connection.settings_dict["NAME"]), timeout=20)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        yield
        holder.rollback()


def hold(taken: threading.Event) -> None:
    with locked():
        taken.set()
        time.sleep(HELD_SECONDS)  # so long is the fault


def test_results_wait_for_the_lock(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    taken = threading.Event()
    holder = threading.Thread(target=hold, args=(taken,))

    def script(call: Call) -> bytes:
        if call.number == 1:
            holder.start()
            assert taken.wait(20)
        return reply()

    with model_server(script) as server:
        batch = start(account, LINES)
        run_turn(lambda: False)
    holder.join()

    assert "database is locked" in caplog.text
    assert len(server.calls) == LINES
    results.finalize(batch.pk)
    batch = Batch.objects.get(pk=batch.pk)
    assert (batch.status, batch.completed, verify(batch)) == (Status.COMPLETED, LINES, [])
