"""What operators do to batches."""

from collections.abc import Callable
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum

from batches import lifecycle
from batches.models import TERMINAL, Batch, Status
from console.acts import Preview, Refused, Verb
from console.models import Act

OWNERS = 20  # that a confirm page names
STOPPABLE = (Status.VALIDATING, Status.IN_PROGRESS)
STOPPED = (Status.CANCELLING, Status.CANCELLED)


def _told(
    batches: QuerySet[Any], possible: Q, sums: dict[str, Any], why_not: Callable[[Status], str]
) -> Preview:
    """Sums over the batches that can be acted on, whose they are, and how many others there are and why not."""
    affected: Any = batches.order_by().filter(possible)
    found = affected.aggregate(
        **{f"sum_{n}": Sum(of, default=0) for n, of in enumerate(sums.values())}
    )
    others = batches.order_by().exclude(possible).values_list("status").annotate(count=Count("pk"))
    return Preview(
        sums={name: found[f"sum_{n}"] for n, name in enumerate(sums)},
        owners=affected.owners(OWNERS),
        skipped={
            f"{Status(status).label}: {why_not(Status(status))}": count for status, count in others
        },
    )


def _cancel(batch: Batch, act: Act) -> None:
    if batch.status in STOPPED:
        raise Refused("it is cancelled already")
    lifecycle.cancel(batch, actor=act.operator, reason=act.reason)


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
    preview=lambda batches: _told(
        batches,
        Q(status__in=STOPPABLE),
        {
            "lines in all": F("total"),
            "lines already done, which are kept": F("completed") + F("failed"),
            "lines that will not run": F("total") - F("completed") - F("failed"),
        },
        lambda status: "cancelled already" if status in STOPPED else "nothing to cancel",
    ),
    applies=lambda batch: batch.status in STOPPABLE,
    is_harmful=True,
)


EVERYTHING = lifecycle.Rerun(everything=True)


def _requeue(batch: Batch, act: Act) -> None:
    lifecycle.requeue(batch, actor=act.operator, reason=act.reason)


def _requeue_all(batch: Batch, act: Act) -> None:
    lifecycle.requeue(batch, actor=act.operator, reason=act.reason, rerun=EVERYTHING)


REQUEUE = Verb(
    name="requeue failed lines",
    button="Requeue failed",
    asks="Requeue the failed lines of {objects}",
    done="requeued",
    explains="Failed and unfinished lines run again, in a new window; good results and the id stay. A batch without "
    "such lines, or whose input file is gone, is refused.",
    model=Batch,
    permission="batches.requeue_batch",
    do=_requeue,
    refusals=(Batch.Conflict, lifecycle.InputGone),
    preview=lambda batches: _told(
        batches,
        Q(status__in=TERMINAL) & ~Q(status=Status.COMPLETED, failed=0),
        {"good results, which are kept": F("completed"), "lines that run again": F("failed")},
        lambda status: "no line has failed" if status in TERMINAL else "not ended yet",
    ),
    applies=lambda batch: batch.status in TERMINAL,
)
REQUEUE_ALL = Verb(
    name="requeue all lines",
    button="Requeue all",
    asks="Requeue all lines of {objects}",
    done="requeued",
    explains="Every line runs again, those with a good result too, in a new window. The upstream is paid twice for "
    "them; earlier result files stay until they expire.",
    model=Batch,
    permission="batches.requeue_batch",
    do=_requeue_all,
    refusals=(Batch.Conflict, lifecycle.InputGone),
    preview=lambda batches: _told(
        batches,
        Q(status__in=TERMINAL),
        {"lines that run again": F("total"), "good results that are thrown away": F("completed")},
        lambda status: "not ended yet",
    ),
    applies=lambda batch: batch.status in TERMINAL,
    is_harmful=True,
)
