"""`manage.py pause_upstream`: send nothing more to some upstreams."""

from batches import acts
from console.commands import NamedCommand


class Command(NamedCommand):
    help = "Pause upstreams, by name: nothing more is sent there. Windows go on."
    verb = acts.PAUSE_UPSTREAM
    metavar = "UPSTREAM"
