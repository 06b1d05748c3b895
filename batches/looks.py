"""Looks at what callers sent and what models answered: each is written into the operator log, before it is shown."""

import datetime

from django.db.models import Exists, OuterRef

from batches.models import Batch
from console import acts
from console.acts import By
from console.models import ActObject, kind_of

READ_LINE = "read a line"
READ_ERRORS = "read error messages"
LOOKS = (READ_LINE, READ_ERRORS)


def at_line(by: By, batch: Batch, number: int) -> None:
    """Note that somebody reads a line, by its number; once, however often he comes back to it."""
    seen = ActObject.objects.of(batch).filter(
        act__verb=READ_LINE, act__operator=by.name, act__parameters__line=number
    )
    if not seen.exists():
        outcome = f"read line {number}"
        acts.record(by, READ_LINE, batch, outcome=outcome, parameters={"line": number})


def at_errors(by: By, batch: Batch, at: datetime.datetime) -> None:
    """Note that somebody reads what failed lines were told. Ask `has_read_errors` before: it is noted once."""
    acts.record(by, READ_ERRORS, batch, outcome="read a message of each cause", at=at)


def has_read_errors(by: By) -> Exists:
    """Of a batch in a query: whether it is noted that he has read the messages of its failed lines."""
    acts_of_batch = ActObject.objects.filter(kind=kind_of(Batch), object_id=OuterRef("pk"))
    return Exists(acts_of_batch.filter(act__verb=READ_ERRORS, act__operator=by.name))
