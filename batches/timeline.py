"""What happened to a batch: its changes of state and what operators did to it, in one order and by one query."""

import dataclasses
import datetime
from typing import Any

from django.db.models import CharField, Value
from django.db.models.functions import Coalesce

from batches.looks import LOOKS
from batches.models import TERMINAL, Batch, Status, Transition
from console.models import ActObject

MOST = 100  # of each kind: the latest
# An act writes its outcome and moves the batch in one transaction, which is over well within this time.
ONE_ACT = datetime.timedelta(seconds=10)
WORDS = {
    Status.VALIDATING: "Created",
    Status.FAILED: "Refused",
    Status.IN_PROGRESS: "Checked, and in progress",
    Status.FINALIZING: "Every line has its answer",
    Status.COMPLETED: "Completed",
    Status.EXPIRED: "Expired",
    Status.CANCELLING: "Cancelling",
    Status.CANCELLED: "Cancelled",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, by whom and why. `status`: which it has become; None when it stayed as it was."""

    at: datetime.datetime
    who: str
    why: str
    what: str
    status: Status | None = None
    act_id: int | None = None
    since: datetime.timedelta | None = None  # the event before


def of(batch: Batch) -> list[Event]:
    """From its creation to the latest, as far as the latest MOST of each kind go back."""
    moves, acts = [], []
    for is_move, at, who, why, first, second, number in _rows(batch):
        if is_move == "move":
            moves.append(_moved(at, who, why, first, Status(second), number))
        else:
            acts.append(Event(at, who, why, _done(first, second), act_id=number))
    events = [_joined(move, acts) for move in moves] + acts
    events.sort(key=lambda event: event.at)
    before = [None, *events]
    return [
        event if earlier is None else dataclasses.replace(event, since=event.at - earlier.at)
        for earlier, event in zip(before, events, strict=False)
    ]


def _rows(batch: Batch) -> Any:
    """Rows of (kind, when, who, why, from or verb, to or outcome, attempt or act), in no order."""
    latest = Transition.objects.filter(batch=batch).order_by("-id").values("pk")[:MOST]
    moves = Transition.objects.filter(pk__in=latest).order_by()
    others = ActObject.objects.of(batch).exclude(act__verb__in=LOOKS)
    acts = ActObject.objects.filter(pk__in=others.values("pk")[:MOST]).order_by()
    move, act = Value("move", CharField()), Value("act", CharField())
    return moves.values_list(
        move, "at", "actor", "reason", "from_status", "to_status", "attempt"
    ).union(
        acts.values_list(
            act,
            Coalesce("at", "act__at"),
            "act__operator",
            "act__reason",
            "act__verb",
            "outcome",
            "act_id",
        ),
        all=True,
    )


def _moved(
    at: datetime.datetime, who: str, why: str, was: str, status: Status, attempt: int
) -> Event:
    what = f"Requeued: run {attempt}" if was in TERMINAL else WORDS[status]
    return Event(at, who, why, what, status)


def _done(verb: str, outcome: str) -> str:
    return f"{verb[:1].upper()}{verb[1:]}: {outcome or 'still to do'}"


def _joined(move: Event, acts: list[Event]) -> Event:
    """A move with the act that made it, which is then no event of its own."""
    for act in acts:
        is_near = abs(move.at - act.at) < ONE_ACT
        if is_near and (act.who, act.why) == (move.who, move.why):
            acts.remove(act)
            return dataclasses.replace(move, act_id=act.act_id)
    return move
