"""`manage.py limit_external_user`: how much some external users may queue and store."""

from accounts import acts
from accounts.commands import LimitCommand, UserCommand


class Command(LimitCommand, UserCommand):
    help = "Limit what external users of an account may queue and store."
    verb = acts.LIMIT_USER
