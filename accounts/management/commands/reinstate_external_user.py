"""`manage.py reinstate_external_user`: take uploads and batches for some external users again."""

from accounts import acts
from accounts.commands import UserCommand


class Command(UserCommand):
    help = "Reinstate external users of an account that are suspended."
    verb = acts.REINSTATE_USER
