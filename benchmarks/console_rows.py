"""A database as it is after years, for the console's pages: run as a module inside an installation.

python -m benchmarks.console_rows NUMBER fills up to so many batches, in bulk, the newest first. Half of them belong to
one account, a quarter to one user of it; a few run.
"""

import argparse
import contextlib
import time
from collections.abc import Iterator
from typing import Any

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402 - after the settings
from django.db import connection, models  # noqa: E402

from accounts.models import Account, ApiKey, ExternalUser  # noqa: E402
from batches.models import (  # noqa: E402
    Batch,
    BatchMinute,
    Engine,
    Host,
    MetadataPair,
    OwnerHour,
    Shard,
    TrafficSlice,
    Transition,
    Upstream,
)
from console.models import Act, ActObject  # noqa: E402
from files.models import File  # noqa: E402

ACCOUNTS = 1000
USERS = 20  # of each account
ACTIVE = 200
ACTS = 10_000
OBJECTS = 10  # of each act
HOURS = 24
BIG_SHARDS = 1000  # of the newest batch
LITE = connection.vendor == "sqlite"
# An id that looks like chance and is not: a prime number, times i, in 32 bits.
MIXED = "(i * 2654435761) %% 4294967296"
HEX = f"printf('%%08x', {MIXED})" if LITE else f"lpad(to_hex({MIXED}), 8, '0')"
TAIL = "'0123456789abcdef01234567'"
BATCH_ID = f"'batch_' || {HEX} || {TAIL}"
FILE_ID = f"'file-' || {HEX} || {TAIL}"
ACCOUNT = f"CASE WHEN i %% 2 = 0 THEN 1 ELSE 1 + i %% {ACCOUNTS} END"
USER = f"CASE WHEN i %% 4 = 0 THEN 1 WHEN i %% 2 = 0 THEN NULL ELSE 1 + (i %% {ACCOUNTS}) * {USERS} + (i / 7) %% {USERS} END"
STATUS = (
    f"CASE WHEN i < {ACTIVE} THEN (CASE WHEN i %% 20 = 7 THEN 'validating' ELSE 'in_progress' END) "
    "WHEN i %% 100 < 90 THEN 'completed' WHEN i %% 100 < 94 THEN 'failed' WHEN i %% 100 < 97 THEN 'expired' "
    "ELSE 'cancelled' END"
)


def ago(seconds: str) -> str:
    """The time so many seconds ago, as this database keeps it."""
    if LITE:
        return f"strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', (-({seconds})) || ' seconds') || '000'"
    return f"now() - make_interval(secs => {seconds})"


CREATED = ago("i * 2")
METADATA = """'{"project": "p' || (i %% 100) || '", "description": "Nightly"}'"""
OF_BATCH: dict[str, Any] = {
    "status": STATUS,
    "endpoint": "CASE WHEN i %% 50 = 0 THEN '/v1/embeddings' ELSE '/v1/chat/completions' END",
    "model": "CASE WHEN i %% 1000 = 1 THEN 'rare' ELSE 'llama-3.1-8b' END",
    "completion_window": "'24h'",
    "max_concurrency": "64",
    "total": "1000",
    "completed": f"CASE WHEN i < {ACTIVE} THEN 300 ELSE 970 END",
    "failed": "CASE WHEN i %% 10 = 0 THEN 30 ELSE 0 END",
    "expires_at": ago("i * 2 - 86400"),
    "paused_at": f"CASE WHEN i < {ACTIVE} AND i %% 10 = 3 THEN {CREATED} END",
    "upstream_id": "1 + i %% 3",
    "metadata": METADATA if LITE else f"({METADATA})::jsonb",
} | {
    f"{name}_at": CREATED for name in ("in_progress", "completed", "failed", "expired", "cancelled")
}
INDEXES = (
    "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN (%s, %s, %s, %s, %s)"
    if LITE
    else "SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN (%s, %s, %s, %s, %s) "
    "AND indexname NOT IN (SELECT conname FROM pg_constraint)"
)


def fill(model: type[models.Model], first: int, last: int, /, **given: Any) -> None:
    """Insert a row for every i from first to last, each column an expression of i; others have their default."""
    values: dict[str, str] = {}
    for field in model._meta.concrete_fields:
        if field.column in given:
            values[field.column] = str(given[field.column])
        elif not field.primary_key and not field.null:
            values[field.column] = _literal(field)
    columns = ", ".join(f'"{name}"' for name in values)
    numbers = f"WITH RECURSIVE numbers(i) AS (SELECT CAST({first} AS bigint) UNION ALL SELECT i + 1 FROM numbers WHERE i < {last}) "
    insert = f'INSERT INTO "{model._meta.db_table}" ({columns}) '
    select = f"SELECT {', '.join(values.values())} FROM numbers"
    with connection.cursor() as cursor:
        cursor.execute((numbers + insert if LITE else insert + numbers) + select, [])


def _literal(field: Any) -> str:
    if isinstance(field, models.DateTimeField):
        return ago("0")
    default = field.get_default()
    if isinstance(field, models.BooleanField):
        return ("1" if default else "0") if LITE else str(bool(default)).lower()
    if isinstance(field, models.JSONField):
        return "'{}'"
    if isinstance(field, models.IntegerField):
        return str(int(default or 0))
    return f"'{default or ''}'"


@contextlib.contextmanager
def without_indexes(*filled: type[models.Model]) -> Iterator[None]:
    """Take the indexes of tables away, but those of constraints, and make them anew at the end: much faster."""
    names = [model._meta.db_table for model in filled]
    with connection.cursor() as cursor:
        cursor.execute(INDEXES, [*names, *[""] * (5 - len(names))])
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f'DROP INDEX "{name}"')
        yield
        for _, made in indexes:
            cursor.execute(made.replace("%", "%%"), [])


def once() -> None:
    """What there is, however many batches there are."""
    User.objects.create_superuser("bench")
    for name in ("gpu", "cpu", "paid"):
        Upstream.objects.create(name=name, base_url="http://127.0.0.1:9/v1")
    fill(Account, 1, ACCOUNTS, id="i", name="'account-' || i", is_active="TRUE")
    of_account = f"1 + (i - 1) / {USERS}"
    fill(
        ExternalUser, 1, ACCOUNTS * USERS, id="i", external_id="'user-' || i", account_id=of_account
    )
    key = {"prefix": "'lsk_' || i", "digest": "'d' || i", "scopes": "'[]'"}
    fill(ApiKey, 1, ACCOUNTS, account_id="i", name="'key ' || i", **key)
    slot = {"upstream_id": "1 + i %% 3", "model": "'llama'", "start": ago("(i / 3) * 600")}
    fill(TrafficSlice, 0, 24 * 6 * 3 - 1, completed="1000", **slot)
    owner = f"(1 + i %% {ACCOUNTS})"
    hour = {
        "owner": f"{owner} || ':'",
        "account_id": owner,
        "hour": ago(f"(i / {ACCOUNTS}) * 3600"),
    }
    fill(OwnerHour, 0, ACCOUNTS * HOURS - 1, completed="100 + i %% 77", **hour)
    fill(Host, 1, 3, id="'h' || i", name="'host-' || i", lease_expires_at=ago("-3600"))
    fill(Engine, 1, 12, id="'e' || i", host="'host-' || i", lease_expires_at=ago("-3600"))
    ended = {"total": OBJECTS, "done": OBJECTS, "at": ago("i * 60"), "finished_at": ago("i * 60")}
    who = {"token": "'t' || i", "operator": "'operator ' || (i %% 9)", "verb": "'cancel batches'"}
    fill(Act, 1, ACTS, id="i", **who, **ended)


def grow(first: int, last: int) -> None:
    """Add batches, and what comes with each."""
    owner = {"account_id": ACCOUNT, "external_user_id": USER, "created_at": CREATED}
    file = {"filename": "'in-' || i || '.jsonl'", "purpose": "'batch'", "bytes": "1000"}
    fill(File, first, last, id=FILE_ID, **owner, **file)
    fill(Batch, first, last, id=BATCH_ID, input_file_id=FILE_ID, **owner, **OF_BATCH)
    pair = {"batch_id": BATCH_ID, "created_at": CREATED}
    fill(MetadataPair, first, last, key="'project'", value="'p' || (i %% 100)", **pair)
    fill(MetadataPair, first, last, key="'description'", value="'Nightly'", **pair)
    change = {"to_status": "'validating'", "actor": "'key'", "attempt": "1", "at": CREATED}
    fill(Transition, first, last, batch_id=BATCH_ID, **change)
    shard = {"first_line": "1", "lines": "1000", "state": "'done'"}
    fill(Shard, first, last, batch_id=BATCH_ID, number="0", **shard)


def running(number: int) -> None:
    """What is known of the newest batches alone: minutes, shards of a large one, acts."""
    newest = BATCH_ID.replace("i *", "0 *")
    minute = {"minute": ago("60"), "completed": "50"}
    fill(BatchMinute, 0, min(ACTIVE, number) - 1, batch_id=BATCH_ID, **minute)
    shard = {"first_line": "i * 1000 + 1", "lines": "1000", "state": "'waiting'"}
    fill(Shard, 1, BIG_SHARDS, batch_id=newest, number="i", **shard)
    name = f"'batch_' || (i %% {ACTS // 2}) || '_' || (i %% {OBJECTS})"
    one = {"kind": "'batch'", "outcome": "'cancelled'", "object_id": name, "label": "'batch_' || i"}
    fill(ActObject, 0, ACTS * OBJECTS - 1, act_id=f"1 + i / {OBJECTS}", **one)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int)
    wanted = parser.parse_args().number
    started = time.monotonic()
    there = Batch.objects.count()
    if LITE:
        with connection.cursor() as cursor:
            for pragma in ("journal_mode = MEMORY", "synchronous = OFF", "cache_size = -200000"):
                cursor.execute(f"PRAGMA {pragma}")
    if not there:
        once()
    with without_indexes(File, Batch, MetadataPair, Transition, Shard):
        grow(there, wanted - 1)
    if not there:
        running(wanted)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode = WAL" if LITE else "VACUUM ANALYZE")
    print(f"{time.monotonic() - started:.1f}")


if __name__ == "__main__":
    main()
