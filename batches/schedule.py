"""What runs again and again, whether anybody asks or not. The rows in django-q2's table are made from this."""

from typing import NamedTuple

from django.db import transaction
from django.utils import timezone
from django_q.models import Schedule

from batches.hints import TASKS, Task


class Recurring(NamedTuple):
    task: Task
    minutes: int


RECURRING = (Recurring("sweep", minutes=1), Recurring("purge", minutes=60))


def sync_schedules() -> None:
    """Make django-q2's schedule say exactly what RECURRING says; safe at every start of every host.

    A row that is right stays as it is, so that restarts do not put its next run off.
    """
    wanted = {recurring.task: recurring.minutes for recurring in RECURRING}
    with transaction.atomic():
        kept = set()
        for row in Schedule.objects.filter(func__startswith=f"{TASKS}.").order_by("id"):
            known = wanted.get(row.name) == row.minutes and row.repeats == -1
            if row.name in kept or not known:  # two hosts may have added it at once
                row.delete()
            else:
                kept.add(row.name)
        for task in wanted.keys() - kept:
            Schedule.objects.create(
                name=task,
                func=f"{TASKS}.{task}",
                schedule_type=Schedule.MINUTES,
                minutes=wanted[task],
                repeats=-1,
                next_run=timezone.now(),
            )
