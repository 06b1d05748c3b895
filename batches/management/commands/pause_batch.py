"""`manage.py pause_batch`: let no call of some batches begin until they are resumed."""

from collections.abc import Mapping
from typing import Any

from batches import acts
from batches.commands import VerbCommand
from console.acts import Verb


class Command(VerbCommand):
    help = "Pause batches: no new call is made until they are resumed. Their windows go on."

    def verb(self, options: Mapping[str, Any]) -> tuple[Verb, dict[str, Any]]:
        return acts.PAUSE, {}
