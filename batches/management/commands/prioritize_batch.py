"""`manage.py prioritize_batch`: let the lines of some batches go before or after those of others."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from batches import acts
from batches.commands import BatchCommand
from batches.models import Priority
from console.acts import Verb


class Command(BatchCommand):
    help = "Let the lines of batches go before those of lower priority, of whatever owner."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        labels = [priority.label for priority in Priority]
        parser.add_argument("--priority", required=True, choices=labels)

    def verb_of(self, options: Mapping[str, Any]) -> tuple[Verb, dict[str, Any]]:
        return acts.PRIORITIZE, {"priority": options["priority"]}
