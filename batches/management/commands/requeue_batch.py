"""`manage.py requeue_batch`: run batches that have ended again."""

from typing import Any

from django.core.management.base import CommandParser

from batches import lifecycle
from batches.commands import BatchCommand, operator


class Command(BatchCommand):
    help = "Run the failed and unfinished lines of batches again, in a new window. Good results are kept."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--all", action="store_true", help="Run every line again, those with good results too."
        )
        what.add_argument(
            "--cause",
            action="append",
            metavar="CAUSE",
            help="Of the failed lines only those of this cause, such as http_429; may be given again.",
        )

    def handle(self, *args: Any, batch_ids: list[str], reason: str, **options: Any) -> None:
        causes = frozenset(options["cause"]) if options["cause"] else None
        rerun = lifecycle.Rerun(everything=options["all"], causes=causes)
        self.each(
            batch_ids,
            lambda batch: lifecycle.requeue(batch, actor=operator(), reason=reason, rerun=rerun),
        )
