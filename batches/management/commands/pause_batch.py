"""`manage.py pause_batch`: let no call of some batches begin until they are resumed."""

from batches import acts
from batches.commands import BatchCommand


class Command(BatchCommand):
    help = "Pause batches: no new call is made until they are resumed. Their windows go on."
    verb = acts.PAUSE
