"""What the commands on external users share: whose users are named."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Q

from console.commands import NamedCommand


class UserCommand(NamedCommand):
    metavar = "EXTERNAL_USER"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--account", required=True, metavar="NAME", help="whose users they are")

    def matching(self, name: str, options: Mapping[str, Any]) -> Q:
        return Q(account__name=options["account"], external_id=name)
