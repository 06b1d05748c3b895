"""`manage.py resume_upstream`: send lines to some upstreams again."""

from batches import acts
from console.commands import NamedCommand


class Command(NamedCommand):
    help = "Resume upstreams that are paused, by name."
    verb = acts.RESUME_UPSTREAM
    metavar = "UPSTREAM"
