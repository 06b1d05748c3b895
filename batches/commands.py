"""What the commands on batches share: which batches are meant, and how one is told of."""

import argparse
import datetime
import getpass
import re
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import QuerySet

from api.clock import database_now, unix_seconds
from batches.models import Batch, Status
from batches.serializers import represent_batch
from console.commands import ActCommand, Meant
from console.models import Act
from console.text import visible

STATES = ["active", "paused", *Status.values]
UNITS = {"m": "minutes", "h": "hours", "d": "days"}
FILTERS = ("account", "external_user", "status", "older_than")


def operator() -> str:
    """Who runs the command, as a batch keeps who made it."""
    return f"operator {getpass.getuser()}"


# Which batches


def add_selection(parser: CommandParser) -> None:
    parser.add_argument("batch_ids", nargs="*", metavar="BATCH_ID")
    parser.add_argument("--account", metavar="NAME", help="Batches of this account.")
    parser.add_argument("--external-user", metavar="ID", help="Batches of this external user.")
    parser.add_argument("--status", choices=STATES, metavar="STATUS", help=", ".join(STATES))
    parser.add_argument(
        "--older-than",
        type=_age,
        metavar="AGE",
        help="Batches made longer ago than this: 30m, 12h, 7d.",
    )


def _age(text: str) -> datetime.timedelta:
    matched = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if matched is None:
        raise argparse.ArgumentTypeError("write it as in 30m, 12h or 7d")
    return datetime.timedelta(**{UNITS[matched[2]]: int(matched[1])})


def is_selective(options: Mapping[str, Any]) -> bool:
    return bool(options["batch_ids"]) or any(options[name] for name in FILTERS)


def selected(options: Mapping[str, Any]) -> QuerySet[Any]:
    """The batches that the options mean, the newest first; all of them without any."""
    rows: Any = Batch.objects.order_by("-created_at", "-id")
    if options["batch_ids"]:
        rows = rows.filter(pk__in=options["batch_ids"])
    if options["account"]:
        rows = rows.filter(account__name=options["account"])
    if options["external_user"]:
        rows = rows.filter(external_user__external_id=options["external_user"])
    if options["older_than"]:
        rows = rows.filter(created_at__lt=database_now() - options["older_than"])
    if options["status"] == "active":
        return rows.active()  # type: ignore[no-any-return]
    if options["status"] == "paused":
        return rows.filter(paused_at__isnull=False)  # type: ignore[no-any-return]
    return rows.filter(status=options["status"]) if options["status"] else rows  # type: ignore[no-any-return]


# How it is told


def user_of(batch: Batch) -> str:
    """account, or account / external user."""
    return str(batch.external_user or batch.account)


def described(batch: Batch) -> dict[str, Any]:
    """The batch as the API shows it, and what only operators see."""
    user = batch.external_user
    return represent_batch(batch) | {
        "account": batch.account.name,
        "external_user": user.external_id if user else None,
        "attempt": batch.attempt,
        "priority": batch.get_priority_display(),
        "paused_at": unix_seconds(batch.paused_at),
        "paused_by": batch.paused_by,
        "pause_reason": batch.pause_reason,
    }


class BatchCommand(ActCommand):
    """Does a verb to batches: by id, or to all that match."""

    columns = ("id", "status", "outcome")

    def add_arguments(self, parser: CommandParser) -> None:
        add_selection(parser)
        super().add_arguments(parser)

    def meant(self, options: Mapping[str, Any]) -> Meant:
        if not is_selective(options):
            raise CommandError("Say which batches: by their ids, or by --account, --status ...")
        rows = selected(options)
        there = set(rows.filter(pk__in=options["batch_ids"]).values_list("pk", flat=True))
        unknown = [one for one in dict.fromkeys(options["batch_ids"]) if one not in there]
        for one in unknown:
            self.stderr.write(self.style.ERROR(f"There is no batch {visible(one, 100)}."))
        return rows, len(unknown)

    def outcomes(self, act: Act) -> list[dict[str, Any]]:
        batches = Batch.objects.filter(pk__in=act.affected.values("object_id")).order_by()
        statuses = dict(batches.values_list("pk", "status"))
        return [one | {"status": statuses.get(one["id"], "")} for one in super().outcomes(act)]
