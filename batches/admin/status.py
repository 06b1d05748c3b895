"""How a batch is told in one word and one bar, wherever it is shown."""

from collections.abc import Mapping

from batches.models import Batch, Priority, Status
from batches.speed import seconds_left
from console.charts import Progress
from console.text import guess

TONES = {
    Status.VALIDATING: "calm",
    Status.FAILED: "bad",
    Status.IN_PROGRESS: "live",
    Status.FINALIZING: "calm",
    Status.COMPLETED: "good",
    Status.EXPIRED: "warn",
    Status.CANCELLING: "warn",
    Status.CANCELLED: "idle",
}


def state_of(batch: Batch) -> tuple[str, str, str]:
    """What a badge says of the state, its tone, and more about it.

    A batch of which nothing is done yet waits, although its state says that it goes on.
    """
    if batch.status == Status.IN_PROGRESS and not batch.completed + batch.failed:
        return "queued", "calm", "in progress; no line is done yet"
    status = Status(batch.status)
    return status.label, TONES[status], ""


def progress_of(batch: Batch) -> Progress:
    return Progress(batch.completed, batch.failed, batch.total)


def pause_of(batch: Batch) -> str:
    """Who paused a batch and why; "" when it is not paused."""
    if batch.paused_at is None:
        return ""
    why = f": {batch.pause_reason}" if batch.pause_reason else ""
    return f"paused by {batch.paused_by}{why}"


def priority_of(batch: Batch) -> str:
    """What a mark says of the priority; "" when it is that of most."""
    return "" if batch.priority == Priority.NORMAL else f"{Priority(batch.priority).label} priority"


def left_of(batch: Batch, speeds: Mapping[str, float]) -> str:
    """How long a batch that runs still takes, or why nobody can tell."""
    if batch.status != Status.IN_PROGRESS or batch.total == batch.completed + batch.failed:
        return ""
    if batch.paused_at is not None:
        return "waits to be resumed"
    seconds = seconds_left(batch, speeds)
    if seconds is not None:
        return f"about {guess(seconds)} left"
    return "no line in 5 min" if batch.completed + batch.failed else "not begun"
