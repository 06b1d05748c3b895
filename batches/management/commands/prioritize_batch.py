"""`manage.py prioritize_batch`: let the lines of some batches go before or after those of others."""

from typing import Any

from django.core.management.base import CommandParser

from batches import lifecycle
from batches.commands import BatchCommand
from batches.models import Priority


class Command(BatchCommand):
    help = "Let the lines of batches go before those of lower priority, of whatever owner."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        labels = [priority.label for priority in Priority]
        parser.add_argument("--priority", required=True, choices=labels)

    def handle(self, *args: Any, batch_ids: list[str], reason: str, **options: Any) -> None:
        priority = Priority[options["priority"].upper()]
        self.each(batch_ids, lambda batch: lifecycle.prioritize(batch, priority))
