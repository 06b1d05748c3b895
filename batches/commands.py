"""What the commands on batches share: which batches are meant, and how a verb of the console is done to them.

A command runs the same verbs as the console, with the same refusals, and keeps the reason in the same operator log.
"""

import argparse
import datetime
import getpass
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet

from api.clock import database_now, unix_seconds
from batches.models import Batch, Status
from batches.serializers import represent_batch
from console import acts
from console.acts import MOST, By, TooMany, Verb, counted
from console.models import Act
from console.text import number, visible

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
    parser.add_argument("--json", action="store_true", help="JSON instead of a table, for pipes.")


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


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns under each other; nothing in them is hidden."""
    cells = [list(headings), *([visible(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


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


class VerbCommand(BaseCommand):
    """Does a verb of the console to batches: by id, or to all that match."""

    def verb(self, options: Mapping[str, Any]) -> tuple[Verb, dict[str, Any]]:
        """Which one, and its parameters."""
        raise NotImplementedError

    def add_arguments(self, parser: CommandParser) -> None:
        add_selection(parser)
        parser.add_argument("--reason", default="", help="Kept in the operator log, for ever.")
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be done.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not is_selective(options):
            raise CommandError("Say which batches: by their ids, or by --account, --status ...")
        verb, parameters = self.verb(options)
        rows = selected(options)
        missing = self.missing(options, rows)
        if options["dry_run"]:
            self.tell(verb, rows, as_json=options["json"])
        else:
            if not options["reason"].strip():
                raise CommandError("--reason is needed: it is kept in the operator log.")
            missing += self.act(verb, rows, parameters, options)
        if missing:
            raise CommandError(
                f"{number(missing)} of the batches could not be acted on; see above."
            )

    def missing(self, options: Mapping[str, Any], rows: QuerySet[Any]) -> int:
        """Name the ids that mean no batch; returns how many."""
        there = set(rows.filter(pk__in=options["batch_ids"]).values_list("pk", flat=True))
        unknown = [one for one in dict.fromkeys(options["batch_ids"]) if one not in there]
        for one in unknown:
            self.stderr.write(self.style.ERROR(f"There is no batch {visible(one, 100)}."))
        return len(unknown)

    def tell(self, verb: Verb, rows: QuerySet[Any], *, as_json: bool) -> None:
        """Say what the confirm page says."""
        count = rows.order_by()[: MOST + 1].count()
        if count > MOST:
            raise CommandError(f"{verb.asked(count)}? That is too much at once: filter.")
        told = verb.preview(rows)
        if as_json:
            found = {
                "act": verb.name,
                "batches": count,
                "ids": list(rows.values_list("pk", flat=True)),
            }
            found |= {"sums": told.sums, "owners": told.owners, "skipped": told.skipped}
            self.stdout.write(json.dumps(found))
            return
        would = count - sum(told.skipped.values())
        self.stdout.write(f"{counted(would, Batch)} would be {verb.done}; nothing is done now.")
        parts = {"": told.sums, "of": told.owners, "skipped": told.skipped}
        lines = [
            (number(n), f"{kind} {name}".strip())
            for kind, of in parts.items()
            for name, n in of.items()
        ]
        if lines:
            self.stdout.write(table(("", ""), lines).lstrip("\n"))

    def act(
        self,
        verb: Verb,
        rows: QuerySet[Any],
        parameters: dict[str, Any],
        options: Mapping[str, Any],
    ) -> int:
        """Do it; returns how many refused."""
        try:
            act = acts.begin(
                verb, By.command(), rows, reason=options["reason"].strip(), parameters=parameters
            )
        except TooMany as error:
            raise CommandError(str(error)) from error
        acts.carry_on(act)
        self.afterwards(act)
        self.report(act, as_json=options["json"])
        return act.refused

    def afterwards(self, act: Act) -> None:
        """What a command does beyond the act."""

    def report(self, act: Act, *, as_json: bool) -> None:
        outcomes = list(
            act.affected.order_by("id").values_list("object_id", "outcome", "is_refusal")
        )
        statuses = dict(act_batches(act).values_list("pk", "status"))
        if as_json:
            found = [
                {"id": pk, "outcome": outcome, "refused": refused, "status": statuses.get(pk)}
                for pk, outcome, refused in outcomes
            ]
            self.stdout.write(json.dumps({"act": act.pk, "batches": found}))
            return
        lines = [(pk, statuses.get(pk, ""), outcome) for pk, outcome, _ in outcomes]
        self.stdout.write(
            table(("batch", "status", "outcome"), lines) if lines else "No batch matches."
        )


def act_batches(act: Act) -> QuerySet[Any]:
    """The batches of an act."""
    return Batch.objects.filter(pk__in=act.affected.values("object_id")).order_by()
