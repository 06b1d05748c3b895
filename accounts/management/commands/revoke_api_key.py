"""`manage.py revoke_api_key`: end some API keys at once and for ever."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Q

from accounts import acts
from console.commands import NamedCommand


class Command(NamedCommand):
    help = "Revoke API keys, by their prefixes, such as lsk_0123456789ab. It cannot be undone."
    verb = acts.REVOKE
    metavar = "PREFIX"

    def matching(self, name: str, options: Mapping[str, Any]) -> Q:
        return Q(prefix=name)
