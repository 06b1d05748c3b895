"""`manage.py requeue_batch`: run batches that have ended again."""

from typing import Any

from django.core.management.base import CommandParser

from batches import lifecycle
from batches.commands import BatchCommand, operator


class Command(BatchCommand):
    help = "Run the failed and unfinished lines of batches again, in a new window. Good results are kept."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--all", action="store_true", help="Run every line again, those with good results too."
        )

    def handle(self, *args: Any, batch_ids: list[str], reason: str, **options: Any) -> None:
        self.each(
            batch_ids,
            lambda batch: lifecycle.requeue(
                batch, actor=operator(), reason=reason, everything=options["all"]
            ),
        )
