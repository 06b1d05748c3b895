"""Rows made directly in the database, for benchmarks that need many: run as a module inside an installation."""

import argparse
import datetime
import json
import secrets
import sys
from typing import Any

import django

django.setup()

from django.db import connection, transaction  # noqa: E402 - after the settings

from accounts.models import Account  # noqa: E402
from api.clock import database_now  # noqa: E402
from batches import hints  # noqa: E402
from batches.models import Batch, Segment, Shard, Status, Upstream  # noqa: E402
from files.content import save_blob, store  # noqa: E402
from files.models import Blob, File, Purpose  # noqa: E402

LINES_OF_SHARD = 1000


def new_batch(**fields: Any) -> Batch:
    """A batch of the account "bench", with an input file that has no bytes."""
    account, _ = Account.objects.get_or_create(name="bench")
    file = File.objects.create(
        account=account, filename="in.jsonl", purpose=Purpose.BATCH, bytes=0, sha256="0" * 64
    )
    given = {
        "account": account,
        "created_by": "bench",
        "input_file": file,
        "held_file": file,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "max_concurrency": 512,
        "expires_at": database_now() + datetime.timedelta(hours=24),
    }
    made: Batch = Batch.objects.create(**given | fields)
    return made


def newest_batch() -> Batch:
    newest: Batch = Batch.objects.select_related("held_file").latest("created_at")
    return newest


def copies(count: int) -> None:
    """Add `count` batches that are like the newest one but older, a second apart."""
    source = newest_batch()
    first = Batch.objects.count()
    names = [str(field.column) for field in Batch._meta.concrete_fields]
    sqlite = connection.vendor == "sqlite"
    made = {
        "id": "'batch_' || " + ("printf('%%032x', i)" if sqlite else "lpad(to_hex(i), 32, '0')"),
        "created_at": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', created_at, -i || ' seconds') || '000'"
        if sqlite
        else "created_at - make_interval(secs => i)",
    }
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(made.get(name, f'"{name}"') for name in names)
    numbers = (
        "WITH RECURSIVE numbers(i) AS (SELECT %s UNION ALL SELECT i + 1 FROM numbers WHERE i < %s) "
    )
    with connection.cursor() as cursor:
        insert = f"INSERT INTO batches_batch ({columns}) "
        select = f"SELECT {values} FROM batches_batch, numbers WHERE id = %s"
        order = numbers + insert + select if sqlite else insert + numbers + select
        cursor.execute(order, [first, first + count - 1, source.pk])
        cursor.execute("ANALYZE batches_batch")


def ended_lines(lines: int) -> str:
    """A batch whose last line has just been answered, of `lines` lines; rings for its end. Returns its id."""
    shards = lines // LINES_OF_SHARD
    batch = new_batch(
        status=Status.IN_PROGRESS,
        in_progress_at=database_now(),
        upstream=Upstream.objects.first(),
        total=lines,
        completed=lines,
    )
    stored = [store(b"x" * 100)]
    blobs = [save_blob(one) for one in stored]
    more = [
        Blob(key=secrets.token_hex(16), bytes=100, sha256="0" * 64)
        for _ in range(shards - len(blobs))
    ]
    Blob.objects.bulk_create(more, batch_size=500)
    made = [
        Shard(
            batch=batch,
            number=number,
            first_line=number * LINES_OF_SHARD + 1,
            lines=LINES_OF_SHARD,
            start=0,
            end=0,
            state=Shard.State.DONE,
        )
        for number in range(shards)
    ]
    Shard.objects.bulk_create(made, batch_size=500)
    segments = [
        Segment(
            shard=shard,
            blob=blob,
            attempt=1,
            output_bytes=90,
            error_bytes=10,
            completed=LINES_OF_SHARD,
            failed=0,
            input_tokens=1000,
        )
        for shard, blob in zip(made, [*blobs, *more], strict=True)
    ]
    Segment.objects.bulk_create(segments, batch_size=500)
    with transaction.atomic():  # as the last commit of an engine does
        batch.move(Status.FINALIZING, actor="engine")
        hints.ring("finalize_batch", batch.pk)
    return str(batch.pk)


def ended_after(batch_id: str) -> float | None:
    """Seconds from a batch's last line to its end; None while it has not ended."""
    batch = Batch.objects.get(pk=batch_id)
    if batch.completed_at is None or batch.finalizing_at is None:
        return None
    return (batch.completed_at - batch.finalizing_at).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["batch", "copies", "ended", "ended_after"])
    parser.add_argument("argument", nargs="?", default="")
    options = parser.parse_args()
    answer: Any = None
    if options.what == "batch":
        answer = new_batch().pk
    elif options.what == "copies":
        copies(int(options.argument))
    elif options.what == "ended":
        answer = ended_lines(int(options.argument))
    else:
        answer = ended_after(options.argument)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
