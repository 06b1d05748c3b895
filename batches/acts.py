"""What operators do to batches and upstreams, in the browser and by commands alike."""

from collections.abc import Callable
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum

from batches import lifecycle
from batches.hints import ring
from batches.models import TERMINAL, Batch, Status, Upstream
from console import acts
from console.acts import Preview, Refused, Verb
from console.models import Act

OWNERS = 20  # that a confirm page names
TURN_SECONDS = 60.0  # of one task with an act; the next goes on with the rest
STOPPABLE = (Status.VALIDATING, Status.IN_PROGRESS)
STOPPED = (Status.CANCELLING, Status.CANCELLED)


def carry_on(act_id: int) -> None:
    """Go on with what is left of an act, for a bounded time; ring for the rest."""
    if acts.carry_on(Act.objects.get(pk=act_id), TURN_SECONDS):
        ring_for(act_id)


def ring_for(act_id: int) -> None:
    ring("carry_on_act", str(act_id))


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


def _pause_upstream(upstream: Upstream, act: Act) -> None:
    if not upstream.pause(f"{act.operator}: {act.reason}"):
        raise Refused("it is paused already")


def _resume_upstream(upstream: Upstream, act: Act) -> None:
    if not upstream.resume():
        raise Refused("it is not paused")


def _told_of_upstreams(upstreams: QuerySet[Any], *, paused: bool) -> Preview:
    waiting = Batch.objects.active().filter(
        upstream__in=upstreams.order_by().filter(paused_at__isnull=not paused)
    )
    others = upstreams.filter(paused_at__isnull=paused).count()
    return Preview(
        sums={"batches that go on" if paused else "batches that wait": waiting.count()},
        owners=waiting.owners(OWNERS),
        skipped={"not paused" if paused else "paused already": others} if others else {},
    )


PAUSE_UPSTREAM = Verb(
    name="pause upstreams",
    button="Pause",
    asks="Pause {objects}",
    done="paused",
    explains="Nothing more is sent there. Its lines wait, and the windows of their batches go on.",
    model=Upstream,
    permission="batches.pause_upstream",
    do=_pause_upstream,
    preview=lambda upstreams: _told_of_upstreams(upstreams, paused=False),
    applies=lambda upstream: upstream.paused_at is None,
    is_harmful=True,
)
RESUME_UPSTREAM = Verb(
    name="resume upstreams",
    button="Resume",
    asks="Resume {objects}",
    done="resumed",
    explains="Lines are sent there again.",
    model=Upstream,
    permission="batches.pause_upstream",
    do=_resume_upstream,
    preview=lambda upstreams: _told_of_upstreams(upstreams, paused=True),
    applies=lambda upstream: upstream.paused_at is not None,
)
