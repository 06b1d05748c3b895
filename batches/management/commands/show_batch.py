"""`manage.py show_batch`: one batch, why it is not moving, why lines failed, and what has happened to it."""

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from api.clock import database_now, unix_seconds
from api.commands import ServiceCommand
from batches import inspection, standing
from batches.commands import described, user_of
from batches.models import TERMINAL, Batch
from batches.speed import seconds_left, speeds
from console.commands import add_json, table
from console.text import duration, number, share, visible


class Command(ServiceCommand):
    help = "Show a batch: how far it is, why it is not moving, why lines failed, and its history."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("batch_id", metavar="BATCH_ID")
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        batch = Batch.objects.filter(pk=options["batch_id"]).first()
        if batch is None:
            raise CommandError(f"There is no batch {visible(options['batch_id'], 100)}.")
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(batch)))
        else:
            self.stdout.write("\n\n".join(part for part in _as_text(batch) if part))


def _reasons(batch: Batch) -> list[str]:
    return [] if batch.status in TERMINAL else standing.explain(batch).reasons


def _as_json(batch: Batch) -> dict[str, Any]:
    return described(batch) | {
        "seconds_left": seconds_left(batch, speeds([batch], database_now())),
        "standing": _reasons(batch),
        "causes": {one.cause: one.lines for one in inspection.causes(batch)},
        "history": [
            {
                "at": unix_seconds(one.at),
                "attempt": one.attempt,
                "from": one.from_status or None,
                "to": one.to_status,
                "actor": one.actor,
                "reason": one.reason,
            }
            for one in batch.history.order_by("id")
        ],
    }


def _as_text(batch: Batch) -> list[str]:
    causes = [(number(one.lines), one.cause) for one in inspection.causes(batch)]
    history = [
        (f"{one.at:%Y-%m-%d %H:%M:%S}", one.to_status, one.actor, one.reason)
        for one in batch.history.order_by("id")
    ]
    return [
        _facts(batch),
        "\n".join(visible(reason) for reason in _reasons(batch)),
        table(("lines", "failed of"), causes) if causes else "",
        table(("when (UTC)", "became", "by", "why"), history),
    ]


def _facts(batch: Batch) -> str:
    done = batch.completed + batch.failed
    left = seconds_left(batch, speeds([batch], database_now()))
    facts = {
        "batch": batch.pk,
        "user": user_of(batch),
        "status": batch.status,
        "paused": batch.paused_at and f"by {batch.paused_by}: {batch.pause_reason}",
        "priority": batch.get_priority_display(),
        "model": batch.model,
        "endpoint": batch.endpoint,
        "lines": f"{number(done)} of {number(batch.total)} ({share(done, batch.total)}), {number(batch.failed)} failed",
        "time left": left and f"about {duration(left)}",
        "created": f"{batch.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "expires": f"{batch.expires_at:%Y-%m-%d %H:%M:%S} UTC",
        "attempt": batch.attempt,
        "metadata": "; ".join(f"{key}={value}" for key, value in (batch.metadata or {}).items()),
    }
    width = max(map(len, facts)) + 2
    return "\n".join(f"{name:{width}}{visible(fact)}" for name, fact in facts.items() if fact)
