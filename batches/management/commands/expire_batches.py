"""`manage.py expire_batches`: end the batches whose window has closed, or close the window of some now."""

from typing import Any

from django.core.management.base import CommandParser

from api.clock import database_now
from batches import lifecycle, results
from batches.commands import BatchCommand, operator
from batches.models import Batch


class Command(BatchCommand):
    help = (
        "End every batch whose window has closed, without waiting for a worker. "
        "With ids, close the window of those batches now."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("batch_ids", nargs="*", metavar="BATCH_ID")
        parser.add_argument("--reason", default="", help="Kept in the history of each batch.")
        parser.add_argument("--dry-run", action="store_true", help="Only list what would end.")

    def handle(self, *args: Any, batch_ids: list[str], reason: str, **options: Any) -> None:
        ids = batch_ids or list(
            Batch.objects.overdue(database_now())
            .order_by("expires_at")
            .values_list("pk", flat=True)
        )
        if options["dry_run"]:
            self.stdout.write("\n".join([*ids, f"{len(ids)} would expire."]))
            return

        def act(batch: Batch) -> None:
            if batch_ids:
                lifecycle.expire(batch, actor=operator(), reason=reason)
            results.finalize(batch.pk)
            batch.refresh_from_db()

        self.each(ids, act)
