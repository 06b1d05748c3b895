"""What operators do to upstreams."""

from typing import Any

from django.db.models import QuerySet

from batches.models import Batch, Upstream
from console.acts import Preview, Refused, Verb
from console.models import Act


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
        owners=waiting.owners(),
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
