"""How a batch is told in one word and one bar, wherever it is shown."""

from batches.models import Batch, Status
from console.charts import Progress

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
