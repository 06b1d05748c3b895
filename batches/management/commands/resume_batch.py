"""`manage.py resume_batch`: go on with batches that were paused."""

from typing import Any

from batches import lifecycle
from batches.commands import BatchCommand


class Command(BatchCommand):
    help = "Go on with batches that were paused."

    def handle(self, *args: Any, batch_ids: list[str], reason: str, **options: Any) -> None:
        self.each(batch_ids, lifecycle.resume)
