"""`manage.py list_batches`: which batches there are, the newest first."""

import json
from typing import Any

from django.core.management.base import CommandParser

from api.commands import ServiceCommand
from batches.commands import add_selection, described, selected, user_of
from batches.models import Batch
from console.commands import add_json, table

MOST = 50


class Command(ServiceCommand):
    help = "List batches, the newest first: all, by their ids, or those that match."

    def add_arguments(self, parser: CommandParser) -> None:
        add_selection(parser)
        add_json(parser)
        parser.add_argument(
            "--limit", type=int, default=MOST, help=f"At most so many; {MOST} unless told."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        rows = selected(options).select_related("account", "external_user")[
            : max(options["limit"], 0)
        ]
        if options["json"]:
            self.stdout.write(json.dumps([described(batch) for batch in rows]))
            return
        lines = [_line(batch) for batch in rows]
        headings = ("batch", "user", "status", "done", "failed", "of", "model", "created (UTC)")
        self.stdout.write(table(headings, lines) if lines else "No batch matches.")


def _line(batch: Batch) -> tuple[object, ...]:
    status = f"{batch.status}, paused" if batch.paused_at else batch.status
    return (
        batch.pk,
        user_of(batch),
        status,
        batch.completed,
        batch.failed,
        batch.total,
        batch.model or "",
        f"{batch.created_at:%Y-%m-%d %H:%M}",
    )
