"""What commands share that do a verb of the console to rows that are named: the same refusals, reasons and log."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q, QuerySet

from console import acts
from console.acts import By, TooMany, Verb, counted
from console.models import Act
from console.text import number, visible


class NamedCommand(BaseCommand):
    """Does one verb to the rows that are named. A subclass says which verb, and how a name is matched."""

    verb: ClassVar[Verb]
    metavar: ClassVar[str] = "NAME"

    def matching(self, name: str, options: dict[str, Any]) -> Q:
        """The row that a name means."""
        return Q(name=name)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="+", metavar=self.metavar)
        parser.add_argument("--reason", default="", help="Kept in the operator log, for ever.")
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be done.")
        parser.add_argument("--json", action="store_true", help="JSON instead of text, for pipes.")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = self.found(options["names"], options)
        if options["dry_run"]:
            self.tell(rows, as_json=options["json"])
            return
        if not options["reason"].strip():
            raise CommandError("--reason is needed: it is kept in the operator log.")
        try:
            act = acts.begin(self.verb, By.command(), rows, reason=options["reason"].strip())
        except TooMany as error:
            raise CommandError(str(error)) from error
        acts.carry_on(act)
        self.report(act, as_json=options["json"])
        if act.refused:
            raise CommandError(f"{number(act.refused)} could not be {self.verb.done}; see above.")

    def found(self, names: Sequence[str], options: dict[str, Any]) -> QuerySet[Any]:
        """The rows of all the names. Raises CommandError for a name without a row, before anything is done."""
        keys = []
        for name in names:
            rows = self.verb.model._default_manager.filter(self.matching(name, options))
            found = list(rows.values_list("pk", flat=True)[:2])
            if len(found) != 1:
                kind = self.verb.model._meta.verbose_name
                raise CommandError(f"There is no {kind} {visible(name, 100)}.")
            keys += found
        return self.verb.model._default_manager.filter(pk__in=keys).order_by("pk")

    def tell(self, rows: QuerySet[Any], *, as_json: bool) -> None:
        """Say what the confirm page says."""
        told = self.verb.preview(rows)
        if as_json:
            found: dict[str, Any] = {"act": self.verb.name, "names": [str(row) for row in rows]}
            found |= {"sums": told.sums, "owners": told.owners, "skipped": told.skipped}
            self.stdout.write(json.dumps(found))
            return
        would = rows.count() - sum(told.skipped.values())
        objects = counted(would, self.verb.model)
        self.stdout.write(f"{objects} would be {self.verb.done}; nothing is done now.")
        parts = (("", told.sums), ("of ", told.owners), ("skipped: ", told.skipped))
        for kind, counts in parts:
            for name, count in counts.items():
                self.stdout.write(f"{number(count)}  {kind}{visible(name)}")

    def report(self, act: Act, *, as_json: bool) -> None:
        rows = act.affected.order_by("id").values_list("label", "outcome", "is_refusal")
        if as_json:
            done = [{"name": name, "outcome": o, "refused": refused} for name, o, refused in rows]
            self.stdout.write(json.dumps({"act": act.pk, "objects": done}))
            return
        for name, outcome, _ in rows:
            self.stdout.write(f"{visible(name)}: {visible(outcome)}")
