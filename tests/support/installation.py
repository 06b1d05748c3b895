"""A migrated installation of its own, which real processes use and a test looks into by plain SQL."""

import datetime
import os
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.utils import timezone
from django_q.signing import SignedPackage
from psycopg import sql

from tests.support.processes import ROOT


class Installation:
    """Where the processes of a test keep their rows and files.

    environment: for their start. directory: theirs alone.
    """

    def __init__(self, directory: Path, database_url: str) -> None:
        self.directory = directory
        self.database_url = database_url
        self.is_sqlite = database_url.startswith("sqlite")
        self.environment = os.environ | {
            "DATABASE_URL": database_url,
            "DATA_DIR": str(directory),
            "SECRET_KEY": settings.SECRET_KEY,
            "BATCH_DRAIN_SECONDS": "5",
            "PYTHONWARNINGS": "",
        }

    def manage(self, *command: str) -> str:
        """Run a management command and return what it printed; fail the test when it fails."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *command],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command} failed: {done.stdout}{done.stderr}"
        return done.stdout

    def execute(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run one statement, with `?` for its parameters, and return its rows."""
        if self.is_sqlite:
            path = self.database_url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(path, timeout=20)) as connection, connection:
                return connection.execute(statement, parameters).fetchall()
        with psycopg.connect(self.database_url) as postgres:
            cursor = postgres.execute(statement.replace("?", "%s").encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def between_writes(self) -> Iterator[None]:
        """Within the block nobody is in the midst of a write to SQLite, so none can be frozen with its one lock.

        A frozen writer of PostgreSQL keeps others from the rows it has locked, until the server ends its transaction
        after 30 s.
        """
        if self.is_sqlite:
            with self.recording_nothing():
                yield
        else:
            yield

    @contextmanager
    def recording_nothing(self) -> Iterator[None]:
        """Within the block no result is committed: whoever tries waits."""
        if self.is_sqlite:
            path = self.database_url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield
        else:
            with psycopg.connect(self.database_url) as postgres:
                postgres.execute("LOCK TABLE batches_segment IN SHARE MODE")
                yield
                postgres.rollback()

    def enqueue(self, function: str, *args: str, queue: str) -> None:
        """Put a task in the queue, as django-q2 does it, without a process of ours."""
        task = {
            "id": uuid.uuid4().hex,
            "name": function,
            "func": function,
            "args": args,
            "kwargs": {},
            "started": timezone.now(),
            "save": False,
            "ack_failure": True,
        }
        self.execute(
            "INSERT INTO django_q_ormq (key, payload, lock) VALUES (?, ?, ?)",
            queue,
            SignedPackage.dumps(task),
            self.now(),
        )

    @contextmanager
    def losing_hints(self) -> Iterator[None]:
        """Within the block, whatever is put in the queue is gone at once."""
        table = "django_q_ormq"
        if self.is_sqlite:
            self.execute(
                f"CREATE TRIGGER lose AFTER INSERT ON {table} BEGIN DELETE FROM {table}; END"
            )
        else:
            self.execute(
                "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS "
                f"'BEGIN DELETE FROM {table}; RETURN NULL; END'"
            )
            self.execute(f"CREATE TRIGGER lose AFTER INSERT ON {table} EXECUTE FUNCTION lose()")
        try:
            yield
        finally:
            self.execute("DROP TRIGGER lose" if self.is_sqlite else "DROP FUNCTION lose CASCADE")

    def now(self, later: float = 0) -> object:
        """Return the host's time, or so many seconds later, as this database's rows hold it."""
        now = timezone.now() + datetime.timedelta(seconds=later)
        return str(now.replace(tzinfo=None)) if self.is_sqlite else now


@contextmanager
def fresh_database(directory: Path, template: str = "") -> Iterator[str]:
    """Yield the URL of a new database: on the PostgreSQL server the tests use, else a SQLite file.

    template: URL of the database to copy, which nobody is connected to; without it the new one is empty.
    """
    url = os.environ.get("TEST_DATABASE_URL") or settings.DATABASE_URL
    if not url.startswith("postgres"):
        path = directory / "db.sqlite3"
        if template:
            shutil.copy(template.removeprefix("sqlite:///"), path)
        yield f"sqlite:///{path}"
        return
    name = f"longshore_e2e_{uuid.uuid4().hex[:12]}"
    server = url.rpartition("/")[0]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        copied = template.rpartition("/")[2] or "template1"
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(copied)))
        try:
            yield f"{server}/{name}"
        finally:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            connection.execute(drop.format(sql.Identifier(name)))
