"""`manage.py limit_account`: how much some accounts may queue and store."""

from accounts import acts
from accounts.commands import LimitCommand


class Command(LimitCommand):
    help = "Limit what accounts, by name, may queue and store, their external users included."
    verb = acts.LIMIT
    metavar = "ACCOUNT"
