"""What callers note on their batches, pair by pair, so that operators find batches by it."""

from collections.abc import Iterable
from typing import Any, Self

from django.db import models

from batches.models.batch import Batch

KEY_CHARS = 64
VALUE_CHARS = 200  # of a longer one its beginning is found


class MetadataPairQuerySet(models.QuerySet["MetadataPair"]):
    def note(self, batches: Iterable[Any]) -> None:
        """Write the pairs of batches down, each once."""
        pairs = (
            self.model(
                batch_id=batch.pk,
                key=writable(key)[:KEY_CHARS],
                value=writable(value)[:VALUE_CHARS],
                created_at=batch.created_at,
            )
            for batch in batches
            for key, value in (batch.metadata or {}).items()
        )
        self.bulk_create(pairs, batch_size=500, ignore_conflicts=True)

    def newest(self, most: int) -> Self:
        return self.order_by("-created_at")[:most]


class MetadataPair(models.Model):
    """One pair of a batch's metadata, a copy to search in; the batch itself has what the API shows."""

    batch = models.ForeignKey(Batch, models.CASCADE, related_name="pairs", db_index=False)
    key = models.CharField(max_length=KEY_CHARS)
    value = models.CharField(max_length=VALUE_CHARS)
    created_at = models.DateTimeField()  # of the batch: what is found comes newest first

    objects = MetadataPairQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["batch", "key"], name="one_pair_a_key")]
        indexes = [
            # By pattern, for a beginning is looked for; equal ones are found by it as well, newest first.
            models.Index(
                fields=["value", "-created_at", "key"],
                opclasses=["varchar_pattern_ops", "timestamptz_ops", "varchar_ops"],
                name="pair_by_value",
            )
        ]

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


def writable(text: str) -> str:
    """The text without what no database takes as text, though JSON does."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
