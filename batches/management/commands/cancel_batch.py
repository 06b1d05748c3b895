"""`manage.py cancel_batch`: stop batches; what is done is kept."""

from batches import acts
from batches.commands import BatchCommand


class Command(BatchCommand):
    help = "Cancel batches. No new call is made; what is done is kept."
    verb = acts.CANCEL
