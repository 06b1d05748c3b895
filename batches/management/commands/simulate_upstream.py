"""`manage.py simulate_upstream`: a stand-in for a model server, for demonstrations, tests and benchmarks."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from simulator.options import add_arguments, from_arguments
from simulator.server import run
from simulator.simulator import Simulator


class Command(BaseCommand):
    help = (
        "Answer chat completions, embeddings and images as an OpenAI-compatible server would. "
        "Every answer says that it is simulated; usage counts words. GET /stats counts the calls, "
        "POST /settings changes these options while it runs."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=0, help="0 takes a free one and prints it")
        parser.add_argument(
            "--log", default="", metavar="FILE", help="append a JSON line for each call"
        )
        add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            run(
                Simulator(from_arguments(options), options["log"]), options["host"], options["port"]
            )
        except (ValueError, OSError) as reason:
            raise CommandError(str(reason)) from reason
