"""`manage.py runcluster control|engine`: one cluster in the foreground. `runworker` starts it; people do not."""

from importlib import import_module
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django_q.conf import Conf

from batches.cluster import die_with, run_cluster
from batches.hints import TASKS, queue_name


class Command(BaseCommand):
    help = "Internal: runs one cluster. Use runworker instead."
    requires_system_checks: list[str] = []  # runworker has done them

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("cluster", choices=["control", "engine"])
        parser.add_argument("--parent", type=int, help="Die with this process, which started it.")

    def handle(self, **options: Any) -> None:
        if options["parent"]:
            die_with(options["parent"])
        wanted = queue_name(options["cluster"])
        if Conf.CLUSTER_NAME != wanted:  # django-q2 reads it when it is imported
            raise CommandError(f"Set Q_CLUSTER_NAME={wanted} in the environment of this command.")
        import_module(TASKS)  # here once, or each worker spends a second on it at its first task
        if not run_cluster():
            raise CommandError(f"The {options['cluster']} cluster ended without being asked.")
