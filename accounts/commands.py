"""What the commands on owners share: whose users are named, and what limits are given."""

import argparse
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Q

from accounts.acts import MOST_OF_A_LIMIT
from console.acts import Verb
from console.commands import NamedCommand


class UserCommand(NamedCommand):
    metavar = "EXTERNAL_USER"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--account", required=True, metavar="NAME", help="whose users they are")

    def matching(self, name: str, options: Mapping[str, Any]) -> Q:
        return Q(account__name=options["account"], external_id=name)


class LimitCommand(NamedCommand):
    """Sets both limits: a number, or none."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        for option, what in (
            ("--queued-requests", "not answered yet"),
            ("--stored-bytes", "of all files"),
        ):
            parser.add_argument(
                option, required=True, type=_limit, metavar="N", help=f"{what}; or: none"
            )

    def verb_of(self, options: Mapping[str, Any]) -> tuple[Verb, dict[str, Any]]:
        return self.verb, {name: options[name] for name in ("queued_requests", "stored_bytes")}


def _limit(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isdecimal() or int(text) > MOST_OF_A_LIMIT:
        raise argparse.ArgumentTypeError("write a whole number, or none")
    return int(text)
