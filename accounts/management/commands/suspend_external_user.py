"""`manage.py suspend_external_user`: take nothing new for some external users."""

from accounts import acts
from accounts.commands import UserCommand


class Command(UserCommand):
    help = (
        "Suspend external users of an account: no new upload and no new batch. What runs goes on."
    )
    verb = acts.SUSPEND_USER
