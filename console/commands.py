"""What commands share that do a verb of the console: the same refusals and reasons, in the same operator log."""

import abc
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db.models import Q, QuerySet

from api.commands import ServiceCommand
from console import acts
from console.acts import MOST, By, TooMany, Verb, counted
from console.models import Act
from console.text import number, visible

Meant = tuple[QuerySet[Any], int]  # rows, and how many of those asked for are not there


def add_json(parser: CommandParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON instead of text, for pipes.")


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns under each other; nothing in them is hidden."""
    cells = [list(headings), *([visible(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


class ActCommand(ServiceCommand, abc.ABC):
    """Does a verb to the rows that its arguments mean.

    verb: unless `verb_of` says which. columns: what the table has of each outcome.
    """

    verb: ClassVar[Verb]
    columns: ClassVar[tuple[str, ...]] = ("name", "outcome")

    @abc.abstractmethod
    def meant(self, options: Mapping[str, Any]) -> Meant:
        """Which rows. Raises CommandError when that cannot be told, before anything is done."""

    def verb_of(self, options: Mapping[str, Any]) -> tuple[Verb, dict[str, Any]]:
        """The verb, and its parameters."""
        return self.verb, {}

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", default="", help="Kept in the operator log, for ever.")
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be done.")
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        verb, parameters = self.verb_of(options)
        rows, failed = self.meant(options)
        if options["dry_run"]:
            self.tell(verb, rows, as_json=options["json"])
        else:
            act = self.act(verb, rows, options["reason"].strip(), parameters)
            self.afterwards(act)
            self.report(act, as_json=options["json"])
            failed += act.refused
        if failed:
            objects = counted(failed, verb.model)
            raise CommandError(f"{objects} could not be {verb.done}; see above.")

    def act(self, verb: Verb, rows: QuerySet[Any], reason: str, parameters: dict[str, Any]) -> Act:
        if not reason:
            raise CommandError("--reason is needed: it is kept in the operator log.")
        try:
            act = acts.begin(verb, By.command(), rows, reason=reason, parameters=parameters)
        except TooMany as error:
            raise CommandError(str(error)) from error
        acts.carry_on(act)
        return act

    def afterwards(self, act: Act) -> None:
        """What a command does beyond the act."""

    def tell(self, verb: Verb, rows: QuerySet[Any], *, as_json: bool) -> None:
        """Say what the confirm page says."""
        found = list(rows[: MOST + 1])
        if len(found) > MOST:
            raise CommandError(f"{verb.asked(len(found))}? That is too much at once: filter.")
        told = verb.preview(rows)
        if as_json:
            ids, names = [str(row.pk) for row in found], [str(row) for row in found]
            named = {"act": verb.name, "ids": ids, "names": names, "sums": told.sums}
            self.stdout.write(json.dumps(named | {"owners": told.owners, "skipped": told.skipped}))
            return
        would = len(found) - sum(told.skipped.values())
        self.stdout.write(
            f"{counted(would, verb.model)} would be {verb.done}; nothing is done now."
        )
        parts = {"": told.sums.items(), "of": told.whose(), "skipped:": told.skipped.items()}
        lines = [
            (number(count), f"{kind} {name}".strip())
            for kind, counts in parts.items()
            for name, count in counts
        ]
        if lines:
            self.stdout.write(table(("", ""), lines).lstrip("\n"))

    def outcomes(self, act: Act) -> list[dict[str, Any]]:
        """What came of each object."""
        rows = act.affected.order_by("id").values_list(
            "object_id", "label", "outcome", "is_refusal"
        )
        names = ("id", "name", "outcome", "refused")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def report(self, act: Act, *, as_json: bool) -> None:
        found = self.outcomes(act)
        if as_json:
            self.stdout.write(json.dumps({"act": act.pk, "objects": found}))
        elif found:
            lines = [[one[column] for column in self.columns] for one in found]
            self.stdout.write(table(self.columns, lines))
        else:
            self.stdout.write("Nothing matches.")


class NamedCommand(ActCommand):
    """Does its verb to the rows that are named."""

    metavar: ClassVar[str] = "NAME"

    def matching(self, name: str, options: Mapping[str, Any]) -> Q:
        """The row that a name means."""
        return Q(name=name)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="+", metavar=self.metavar)
        super().add_arguments(parser)

    def meant(self, options: Mapping[str, Any]) -> Meant:
        keys = []
        for name in options["names"]:
            rows = self.verb.model._default_manager.filter(self.matching(name, options))
            found = list(rows.values_list("pk", flat=True)[:2])
            if len(found) != 1:
                kind = self.verb.model._meta.verbose_name
                raise CommandError(f"There is no {kind} {visible(name, 100)}.")
            keys += found
        return self.verb.model._default_manager.filter(pk__in=keys).order_by("pk"), 0
