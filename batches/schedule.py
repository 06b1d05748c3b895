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
    with transaction.atomic():
        kept = set()
        for row in Schedule.objects.filter(func__startswith=f"{TASKS}.").order_by("id"):
            recurring = (row.name, row.minutes)
            if recurring in RECURRING and recurring not in kept and row.repeats == -1:
                kept.add(recurring)
            else:  # not ours any more, or two hosts added it at once
                row.delete()
        for recurring in RECURRING:
            if recurring not in kept:
                Schedule.objects.create(
                    name=recurring.task,
                    func=f"{TASKS}.{recurring.task}",
                    schedule_type=Schedule.MINUTES,
                    minutes=recurring.minutes,
                    repeats=-1,
                    next_run=timezone.now(),
                )
