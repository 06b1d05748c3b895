"""`manage.py cancel_batch`: stop batches; what is done is kept."""

from typing import Any

from batches import lifecycle
from batches.commands import BatchCommand, operator


class Command(BatchCommand):
    help = "Cancel batches. No new call is made; what is done is kept."

    def handle(self, *args: Any, batch_ids: list[str], reason: str, **options: Any) -> None:
        self.each(batch_ids, lambda batch: lifecycle.cancel(batch, actor=operator(), reason=reason))
