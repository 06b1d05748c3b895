"""`manage.py requeue_batch`: run batches that have ended again."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from batches import acts, choosing
from batches.commands import BatchCommand
from console.acts import Verb


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
        what.add_argument(
            "--lines",
            metavar="NUMBERS",
            help="Of the failed lines of one batch only these, such as 7,20-35.",
        )

    def verb_of(self, options: Mapping[str, Any]) -> tuple[Verb, dict[str, Any]]:
        if options["all"]:
            return acts.REQUEUE_ALL, {}
        if options["cause"]:
            return acts.REQUEUE_CAUSES, {"causes": options["cause"]}
        if options["lines"] is None:
            return acts.REQUEUE, {}
        if len(options["batch_ids"]) != 1:
            raise CommandError("--lines goes with the id of one batch.")
        try:
            numbers = choosing.read_numbers(options["lines"])
        except ValueError as error:
            raise CommandError(str(error)) from error
        return acts.REQUEUE_LINES, {"lines": choosing.written(numbers)}
