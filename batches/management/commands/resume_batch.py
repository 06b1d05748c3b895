"""`manage.py resume_batch`: go on with batches that were paused."""

from batches import acts
from batches.commands import BatchCommand


class Command(BatchCommand):
    help = "Go on with batches that were paused."
    verb = acts.RESUME
