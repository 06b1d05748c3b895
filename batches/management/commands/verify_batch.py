"""`manage.py verify_batch`: does a batch keep every promise? Exit status 1 if not."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from api.commands import ServiceCommand
from batches.models import Batch
from batches.verification import verify


class Command(ServiceCommand):
    help = "Check a batch against its input, its files and its history. Ends with status 1 when a promise is broken."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("batch_ids", nargs="+", metavar="BATCH_ID")

    def handle(self, *args: Any, batch_ids: list[str], **options: Any) -> None:
        broken = False
        for batch_id in batch_ids:
            batch = Batch.objects.filter(pk=batch_id).first()
            if batch is None:
                raise CommandError(f"There is no batch {batch_id}.")
            found = verify(batch)
            for text in found:
                self.stdout.write(self.style.ERROR(f"{batch_id}: {text}"))
            if not found:
                counts = f"{batch.completed} completed, {batch.failed} failed of {batch.total}"
                self.stdout.write(f"{batch_id}: {batch.status}, {counts}; every promise is kept.")
            broken = broken or bool(found)
        if broken:
            raise CommandError("A promise is broken; see above.")
