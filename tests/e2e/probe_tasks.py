"""Tasks that show what a cluster does with them. They write lines `word process-id` to probe.log."""

import datetime
import os
import time

from django.conf import settings

from accounts.models import Account
from api.clock import database_now
from batches.cluster import draining
from batches.models import Batch


def note(word: str) -> None:
    line = f"{word} {os.getpid()}\n".encode()
    descriptor = os.open(settings.DATA_DIR / "probe.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line)
    os.close(descriptor)


def run_until_drained(word: str) -> None:
    """What a turn does: go on until the cluster is to stop."""
    note(f"{word}-started")
    while not draining():
        time.sleep(0.05)
    note(f"{word}-drained")


def never_end(word: str) -> None:
    note(f"{word}-started")
    while True:
        time.sleep(1)


def fail_at_length(word: str) -> None:
    note(word)
    raise RuntimeError("long " * 200_000)


def stage_batch(status: str) -> None:
    """Write a batch whose step somebody has for a minute."""
    now = database_now()
    account, _ = Account.objects.get_or_create(name="probe")
    Batch.objects.create(
        account=account,
        created_by="test",
        input_file_id="file-none",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        max_concurrency=1,
        status=status,
        expires_at=now + datetime.timedelta(hours=1),
        step_lease_expires_at=now + datetime.timedelta(minutes=1),
    )
