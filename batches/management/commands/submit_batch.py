"""`manage.py submit_batch FILE`: upload, create, wait, and save the results, without the HTTP API."""

import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from accounts.models import Account, ExternalUser, Owner
from api.commands import ServiceCommand
from api.errors import ApiError
from batches import lifecycle
from batches.commands import operator
from batches.models import Batch, Status
from files.content import BLOCK, blocks
from files.models import File, Purpose
from files.storage import storage
from files.upload import Upload, save

POLL_SECONDS = 0.5


class Command(ServiceCommand):
    help = "Submit a JSONL file as a batch. With --wait, show its progress and save its results."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--endpoint", required=True, choices=settings.BATCH_ENDPOINTS)
        parser.add_argument(
            "--window", default=settings.BATCH_COMPLETION_WINDOWS[0], help="Default: %(default)s"
        )
        parser.add_argument("--account", default="operator", help="Made on first use.")
        parser.add_argument("--external-user", help="Submit for this user of the account.")
        parser.add_argument("--max-concurrency", type=int)
        parser.add_argument("--wait", action="store_true", help="Until the batch has ended.")
        parser.add_argument(
            "--output", type=Path, help="Folder for the results; default: beside FILE."
        )

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        if options["window"] not in settings.BATCH_COMPLETION_WINDOWS:
            raise CommandError(f"--window must be one of {settings.BATCH_COMPLETION_WINDOWS}.")
        owner = _owner(options["account"], options["external_user"])
        batch = lifecycle.submit(
            owner,
            operator(),
            input_file_id=_upload(owner, file).pk,
            endpoint=options["endpoint"],
            completion_window=options["window"],
            max_concurrency=options["max_concurrency"],
        )
        self.stdout.write(batch.pk)
        if options["wait"]:
            self._wait(batch)
            self._report(batch, options["output"] or file.parent)

    def _wait(self, batch: Batch) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TimeRemainingColumn(),
        )
        with Progress(*columns) as progress:
            bar = progress.add_task(batch.status, total=None, failed=0)
            while not batch.is_terminal:
                time.sleep(POLL_SECONDS)
                batch.refresh_from_db()
                progress.update(
                    bar,
                    description=batch.status,
                    total=batch.total or None,
                    completed=batch.completed + batch.failed,
                    failed=batch.failed,
                )

    def _report(self, batch: Batch, folder: Path) -> None:
        for error in batch.errors or []:
            where = f"line {error['line']}: " if error["line"] else ""
            self.stderr.write(self.style.ERROR(f"{where}{error['message']}"))
        for kind in ("output", "error"):
            result = File.objects.filter(pk=getattr(batch, f"{kind}_file_id")).first()
            if result is not None:
                path = folder / result.filename
                with path.open("wb") as target:
                    target.writelines(blocks(result))
                self.stdout.write(f"{kind}: {path}")
        self.stdout.write(
            f"{batch.status}: {batch.completed} completed, {batch.failed} failed of {batch.total}"
        )
        if batch.status != Status.COMPLETED or batch.failed:
            raise CommandError("Not every line has a good result; see above.")


def _owner(account_name: str, external_id: str | None) -> Owner:
    account, _ = Account.objects.get_or_create(name=account_name)
    if external_id is None:
        return Owner(account)
    user, _ = ExternalUser.objects.get_or_create(account=account, external_id=external_id)
    return Owner(account, user)


def _upload(owner: Owner, path: Path) -> File:
    try:
        with path.open("rb") as source, storage().writer() as writer:
            while piece := source.read(BLOCK):
                writer.write(piece)
            stored = writer.commit()
    except OSError as error:
        raise CommandError(f"{path} cannot be read or stored: {error.strerror}.") from error
    try:
        return save(owner, Upload(path.name, Purpose.BATCH, None), stored)
    except ApiError as refusal:
        raise CommandError(refusal.message) from refusal
