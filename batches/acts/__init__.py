"""What operators do to batches and upstreams, in the browser and by commands alike."""

from batches.acts.batches import CANCEL, EXPIRE, PAUSE, PRIORITIZE, RESUME
from batches.acts.owners import CANCEL_OF_ACCOUNT, CANCEL_OF_USER
from batches.acts.requeues import REQUEUE, REQUEUE_ALL, REQUEUE_CAUSES, REQUEUE_LINES
from batches.acts.upstreams import PAUSE_UPSTREAM, RESUME_UPSTREAM
from batches.hints import ring
from console import acts
from console.models import Act

__all__ = [
    "CANCEL",
    "CANCEL_OF_ACCOUNT",
    "CANCEL_OF_USER",
    "EXPIRE",
    "PAUSE",
    "PAUSE_UPSTREAM",
    "PRIORITIZE",
    "REQUEUE",
    "REQUEUE_ALL",
    "REQUEUE_CAUSES",
    "REQUEUE_LINES",
    "RESUME",
    "RESUME_UPSTREAM",
    "carry_on",
    "ring_for",
]

TURN_SECONDS = 60.0  # of one task with an act; the next goes on with the rest


def carry_on(act_id: int) -> None:
    """Go on with what is left of an act, for a bounded time; ring for the rest."""
    if acts.carry_on(Act.objects.get(pk=act_id), TURN_SECONDS):
        ring_for(act_id)


def ring_for(act_id: int) -> None:
    ring("carry_on_act", str(act_id))
