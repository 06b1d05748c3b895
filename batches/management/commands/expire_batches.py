"""`manage.py expire_batches`: end the batches whose window has closed, or close the window of some now."""

import json
from typing import Any

from api.clock import database_now
from batches import acts, results
from batches.commands import BatchCommand, is_selective
from batches.models import Batch
from console.commands import table
from console.models import Act


class Command(BatchCommand):
    help = (
        "End every batch whose window has closed, without waiting for a worker. "
        "With ids or filters, close the window of those batches now."
    )
    verb = acts.EXPIRE

    def handle(self, *args: Any, **options: Any) -> None:
        if is_selective(options):
            super().handle(*args, **options)
        else:
            self.end_overdue(is_dry=options["dry_run"], as_json=options["json"])

    def end_overdue(self, *, is_dry: bool, as_json: bool) -> None:
        """What the clock does by itself: nobody's act, and so not in the log."""
        overdue = Batch.objects.overdue(database_now()).order_by("expires_at")
        lines = []
        for batch in overdue:
            if not is_dry:
                results.finalize(batch.pk)
                batch.refresh_from_db()
            lines.append(
                (batch.pk, batch.status, "would expire" if is_dry else "its window has closed")
            )
        if as_json:
            found = [dict(zip(self.columns, line, strict=True)) for line in lines]
            self.stdout.write(json.dumps({"act": None, "objects": found}))
        else:
            self.stdout.write(table(self.columns, lines) if lines else "No batch is overdue.")

    def afterwards(self, act: Act) -> None:
        for pk in act.affected.filter(is_refusal=False).values_list("object_id", flat=True):
            results.finalize(pk)
