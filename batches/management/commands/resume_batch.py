"""`manage.py resume_batch`: go on with batches that were paused."""

from collections.abc import Mapping
from typing import Any

from batches import acts
from batches.commands import VerbCommand
from console.acts import Verb


class Command(VerbCommand):
    help = "Go on with batches that were paused."

    def verb(self, options: Mapping[str, Any]) -> tuple[Verb, dict[str, Any]]:
        return acts.RESUME, {}
