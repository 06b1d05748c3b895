"""`manage.py cancel_batch`: stop batches; what is done is kept."""

from collections.abc import Mapping
from typing import Any

from batches import acts
from batches.commands import VerbCommand
from console.acts import Verb


class Command(VerbCommand):
    help = "Cancel batches. No new call is made; what is done is kept."

    def verb(self, options: Mapping[str, Any]) -> tuple[Verb, dict[str, Any]]:
        return acts.CANCEL, {}
