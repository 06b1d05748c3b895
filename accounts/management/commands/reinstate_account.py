"""`manage.py reinstate_account`: let the keys of some accounts work again."""

from accounts import acts
from console.commands import NamedCommand


class Command(NamedCommand):
    help = "Reinstate accounts that are suspended, by name."
    verb = acts.REINSTATE
    metavar = "ACCOUNT"
