"""F67: a PostgreSQL that is there but will not: read-only, full, or with no connection left. F66 is its network."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from tests.support.fleet import Fleet, simulated
from tests.support.installation import Installation
from tests.support.server import serving
from tools.postgres import temporary_server

pytestmark = [pytest.mark.e2e, pytest.mark.only_on("postgresql")]
LINES = 100
MANY_LINES = 400  # ten seconds of calls
REFUSING_SECONDS = 5
CONNECTIONS = 40
Fault = Callable[[Installation], "contextmanager[None]"]


def _disconnect(installation: Installation) -> None:
    """End every connection but ours, and wait until whatever they were committing is committed or not."""
    installation.execute(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@contextmanager
def read_only(installation: Installation) -> Iterator[None]:
    """As a standby is, or a server whose disk an administrator wants to keep from filling up."""
    name = installation.database_url.rpartition("/")[2]
    setting = f'ALTER DATABASE "{name}" SET default_transaction_read_only'
    installation.execute(f"{setting} = on")
    _disconnect(installation)
    try:
        yield
    finally:
        administration = f"{installation.database_url.rpartition('/')[0]}/postgres"
        with psycopg.connect(administration, autocommit=True) as connection:
            connection.execute(f"{setting} = off".encode())
        with psycopg.connect(administration, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )


@contextmanager
def full(installation: Installation) -> Iterator[None]:
    """What needs room is refused with the server's own words for a full disk."""
    tables = ("files_blob", "batches_segment", "batches_transition", "files_file")
    installation.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
        "'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$"
    )
    for table in tables:
        installation.execute(
            f"CREATE TRIGGER full_disk BEFORE INSERT ON {table} EXECUTE FUNCTION full_disk()"
        )
    try:
        yield
    finally:
        installation.execute("DROP FUNCTION full_disk CASCADE")


@pytest.mark.parametrize("fault", [read_only, full], ids=lambda f: f.__name__)
def test_a_database_that_refuses_to_write_loses_nothing(fleet: Fleet, fault: Fault) -> None:
    fleet.upstream.set(latency=0.5)
    with fleet.worker():
        batch = fleet.submit(MANY_LINES)
        batch.wait_for_results(10)
        with fault(fleet.installation):
            recorded = batch.recorded()
            time.sleep(REFUSING_SECONDS)  # so long is the fault
            assert batch.recorded() == recorded < MANY_LINES
        fleet.upstream.set(latency=0)
        batch.wait_until("completed")
    batch.assert_whole()


@pytest.mark.parametrize("fault", [read_only, full], ids=lambda f: f.__name__)
def test_the_api_says_503_to_what_cannot_be_written(
    installation: Installation, tmp_path: Path, fault: Fault
) -> None:
    command = ("create_api_key", "--account", "a", "--name", "n", "--json")
    key = json.loads(installation.manage(*command))["secret"]
    body = (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x\r\n'
        b'Content-Disposition: form-data; name="file"; filename="f.jsonl"\r\n\r\n{}\n\r\n--x--\r\n'
    )
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "multipart/form-data; boundary=x",
    }
    with serving(installation.database_url, tmp_path) as server:
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}/v1/files", body, headers)
        with fault(installation), pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        with refused.value as answer:
            assert (answer.code, json.load(answer)["error"]["code"]) == (503, "unavailable")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200


def test_a_server_without_a_free_connection_holds_up_nothing_for_good(
    tmp_path: Path,
) -> None:
    """Somebody else takes every connection there is, and gives them back."""
    options = {"max_connections": str(CONNECTIONS), "superuser_reserved_connections": "0"}
    with temporary_server(**options) as server:
        installation = Installation(tmp_path, server.url)
        installation.manage("migrate", "-v0")
        with simulated(installation) as upstream:
            fleet = Fleet(installation, upstream)
            upstream.set(latency=0.5)
            with fleet.worker():
                batch = fleet.submit(LINES)
                batch.wait_for_results(10)
                with _crowded(server.url) as taken:
                    assert taken > CONNECTIONS / 2
                batch.wait_until("completed")
            batch.assert_whole()


@contextmanager
def _crowded(url: str) -> Iterator[int]:
    """Nobody but us is connected, for as long as the fault lasts."""
    taken: list[psycopg.Connection] = [psycopg.connect(url, autocommit=True)]
    others = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name <> 'crowd' AND backend_type = 'client backend' "
        "AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + REFUSING_SECONDS
    try:
        while time.monotonic() < deadline:
            taken[0].execute(others)
            with suppress(psycopg.OperationalError):
                while True:
                    taken.append(psycopg.connect(url, application_name="crowd"))
        yield len(taken)
    finally:
        for connection in taken:
            connection.close()
