"""What operators do to batches that run. Requeues are in a module of their own."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.db.models import Q, QuerySet

from batches import lifecycle
from batches.acts.told import DONE, STOPPABLE, ended_or, told
from batches.models import OPEN_LINES, Batch, Priority, Status
from console.acts import Preview, Questions, Refused, Verb
from console.models import Act

STOPPED = (Status.CANCELLING, Status.CANCELLED)
RUNNING = Q(status__in=STOPPABLE)
UNCOUNTED = {"batches whose lines are not counted yet": Q(status=Status.VALIDATING)}
IS_PAUSED = Q(paused_at__isnull=False)


def is_stoppable(batch: Batch) -> bool:
    return batch.status in STOPPABLE


def _told_of_ends(batches: QuerySet[Any], why_not: Callable[[Status], str]) -> Preview:
    sums = {"lines already done, which are kept": DONE, "lines that will not run": OPEN_LINES}
    return told(batches, RUNNING, sums, why_not, rare=UNCOUNTED)


def _cancel(batch: Batch, act: Act) -> None:
    if batch.status in STOPPED:
        raise Refused("it is cancelled already")
    lifecycle.cancel(batch, actor=act.operator, reason=act.reason)


def _cancelled(status: Status) -> str:
    return "cancelled already" if status in STOPPED else "nothing to cancel"


CANCEL = Verb(
    name="cancel batches",
    button="Cancel",
    asks="Cancel {objects}",
    done="cancelled",
    explains="No new call is made, and calls in flight have 5 seconds to come home. What is done is kept; each line "
    "that is not goes to the error file as batch_cancelled.",
    model=Batch,
    permission="batches.cancel_batch",
    do=_cancel,
    refusals=(Batch.Conflict,),
    preview=lambda batches: _told_of_ends(batches, _cancelled),
    applies=is_stoppable,
    is_harmful=True,
)


# Pause and resume


def _pause(batch: Batch, act: Act) -> None:
    if batch.paused_at is not None:
        raise Refused("it is paused already")
    lifecycle.pause(batch, actor=act.operator, reason=act.reason)


PAUSE = Verb(
    name="pause batches",
    button="Pause",
    asks="Pause {objects}",
    done="paused",
    explains="No new call begins until they are resumed; calls in flight may end. Clients go on seeing the state as "
    "it is, and the windows go on: a batch that is paused for too long expires.",
    model=Batch,
    permission="batches.pause_batch",
    do=_pause,
    refusals=(Batch.Conflict,),
    preview=lambda batches: told(
        batches,
        RUNNING,
        {"lines that wait": OPEN_LINES},
        lambda status: ended_or(status, "nothing left to call"),
        unless={"paused already": IS_PAUSED},
        rare=UNCOUNTED,
    ),
    applies=lambda batch: is_stoppable(batch) and batch.paused_at is None,
)


def _resume(batch: Batch, act: Act) -> None:
    if batch.paused_at is None:
        raise Refused("it is not paused")
    lifecycle.resume(batch)


RESUME = Verb(
    name="resume batches",
    button="Resume",
    asks="Resume {objects}",
    done="resumed",
    explains="Their lines are called again, each in its turn.",
    model=Batch,
    permission="batches.pause_batch",
    do=_resume,
    preview=lambda batches: told(
        batches,
        RUNNING,
        {"lines that go on": OPEN_LINES},
        lambda status: ended_or(status, "not paused"),
        unless={"not paused": ~IS_PAUSED},
        rare=UNCOUNTED,
    ),
    applies=lambda batch: is_stoppable(batch) and batch.paused_at is not None,
)


# The window, and the order


def _expire(batch: Batch, act: Act) -> None:
    lifecycle.expire(batch, actor=act.operator, reason=act.reason)


EXPIRE = Verb(
    name="expire batches",
    button="Expire now",
    asks="Expire {objects} now",
    done="expired",
    explains="The window closes at once: within 30 seconds no call is made any more. What is done is kept; each line "
    "that is not goes to the error file as batch_expired.",
    model=Batch,
    permission="batches.expire_batch",
    do=_expire,
    refusals=(Batch.Conflict,),
    preview=lambda batches: _told_of_ends(batches, lambda status: ended_or(status, "past running")),
    applies=is_stoppable,
    is_harmful=True,
)


class PriorityForm(Questions):
    priority = forms.ChoiceField(
        choices=[(one.label, one.label) for one in reversed(Priority)],
        initial=Priority.NORMAL.label,
        help_text="Lines of a higher priority go first, of whatever owner; owners of the same one take turns.",
    )


def _prioritize(batch: Batch, act: Act) -> str:
    label = str(act.parameters["priority"])
    priority = Priority[label.upper()]
    if batch.priority == priority and is_stoppable(batch):
        raise Refused(f"its priority is {label} already")
    lifecycle.prioritize(batch, priority)
    return f"priority {label}"


def _told_of_priorities(batches: QuerySet[Any]) -> Preview:
    return told(
        batches,
        RUNNING,
        {"lines still to run": OPEN_LINES},
        lambda status: ended_or(status, "nothing left to call"),
        rare=UNCOUNTED | {f"now {one.label}": Q(priority=one) for one in Priority},
    )


PRIORITIZE = Verb(
    name="prioritize batches",
    button="Priority",
    asks="Change the priority of {objects}",
    done="prioritized",
    explains="Calls in flight end as they are; from the next one on the new priority holds.",
    model=Batch,
    permission="batches.prioritize_batch",
    do=_prioritize,
    refusals=(Batch.Conflict,),
    preview=_told_of_priorities,
    applies=is_stoppable,
    form=PriorityForm,
)
