"""`manage.py runworker`: the process that works off batches on this host. For systemd, Docker or a terminal."""

import argparse
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from api.commands import ServiceCommand
from batches.supervisor import Supervisor


class Command(ServiceCommand):
    help = (
        "Works off batches: runs the control cluster and the engines of this host until SIGTERM. "
        "Then calls in flight may finish, for BATCH_DRAIN_SECONDS. Ends with status 1 when work is due "
        "and a restart of the cluster did not set it going."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--control-workers",
            type=_at_least_one,
            default=settings.CONTROL_WORKERS,
            help="Processes that validate, finalise and clean up (default: %(default)s).",
        )
        parser.add_argument(
            "--engine-workers",
            type=_at_least_one,
            default=settings.ENGINE_WORKERS,
            help="Processes that send lines to the upstream (default: %(default)s).",
        )

    def handle(self, **options: Any) -> None:
        environment = {
            "CONTROL_WORKERS": str(options["control_workers"]),
            "ENGINE_WORKERS": str(options["engine_workers"]),
        }
        sys.exit(Supervisor(options["engine_workers"], environment).run())


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
