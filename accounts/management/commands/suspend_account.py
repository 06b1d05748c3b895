"""`manage.py suspend_account`: refuse every key of some accounts."""

from accounts import acts
from console.commands import NamedCommand


class Command(NamedCommand):
    help = "Suspend accounts, by name: all of their keys are refused. What runs goes on."
    verb = acts.SUSPEND
    metavar = "ACCOUNT"
