"""What the commands that act on batches share: their arguments, and who acts."""

import getpass
from collections.abc import Callable, Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from batches.lifecycle import InputGone
from batches.models import Batch


def operator() -> str:
    """Who runs the command, for the history."""
    return f"operator {getpass.getuser()}"


class BatchCommand(BaseCommand):
    """A command that does one thing to each of the batches named."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("batch_ids", nargs="+", metavar="BATCH_ID")
        parser.add_argument("--reason", default="", help="Kept in the history of each batch.")

    def each(self, batch_ids: Iterable[str], act: Callable[[Batch], Any]) -> None:
        """Act on each batch; those that cannot be acted on are named, and make the command fail."""
        refused = 0
        for batch_id in batch_ids:
            batch = Batch.objects.filter(pk=batch_id).first()
            try:
                if batch is None:
                    raise CommandError(f"There is no batch {batch_id}.")
                act(batch)
                self.stdout.write(f"{batch_id}: {batch.status}")
            except (Batch.Conflict, InputGone, CommandError) as error:
                refused += 1
                self.stderr.write(self.style.ERROR(str(error)))
        if refused:
            raise CommandError(f"{refused} of the batches could not be acted on; see above.")
