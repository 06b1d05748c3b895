"""`manage.py test_upstream`: try an upstream with real calls, as the console's button does."""

import dataclasses
import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from api.commands import ServiceCommand
from batches import upstreams
from batches.models import Upstream
from console.acts import By
from console.commands import add_json
from console.text import visible


class Command(ServiceCommand):
    help = "Ask an upstream for its models and send it one tiny request. Fails when an answer is not good."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="UPSTREAM")
        parser.add_argument("--reason", default="", help="Kept in the operator log, for ever.")
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be called.")
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        upstream = Upstream.objects.filter(name=options["name"]).first()
        if upstream is None:
            raise CommandError(f"There is no upstream {visible(options['name'], 100)}.")
        if options["dry_run"]:
            urls = [upstream.url("/v1/models"), upstream.url("/v1/chat/completions")]
            shown = json.dumps({"would_call": urls}) if options["json"] else "\n".join(urls)
            self.stdout.write(shown)
            return
        tries = upstreams.try_and_log(upstream, By.command(), reason=options["reason"].strip())
        if options["json"]:
            self.stdout.write(json.dumps([dataclasses.asdict(one) for one in tries]))
        else:
            for one in tries:
                self.stdout.write(f"{visible(one.told)}\n  {visible(one.said)}")
        if not all(one.is_good for one in tries):
            raise CommandError("The upstream did not answer well.")
