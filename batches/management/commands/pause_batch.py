"""`manage.py pause_batch`: let no call of some batches begin until they are resumed."""

from typing import Any

from batches import lifecycle
from batches.commands import BatchCommand, operator


class Command(BatchCommand):
    help = "Pause batches: no new call is made until they are resumed. Their windows go on."

    def handle(self, *args: Any, batch_ids: list[str], reason: str, **options: Any) -> None:
        self.each(batch_ids, lambda batch: lifecycle.pause(batch, actor=operator(), reason=reason))
