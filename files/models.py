"""File, the parts it is made of, and the immutable blobs those are cut from."""

import datetime

from django.db import models
from django.db.models import Exists, OuterRef, Q, Sum

from accounts.models import Owned, OwnedQuerySet
from api.clock import database_now
from api.ids import new_file_id


class BlobQuerySet(models.QuerySet["Blob"]):
    def unreferenced(self) -> "BlobQuerySet":
        """Blobs that no row needs: asked of every model that points at Blob, so a new one is never forgotten."""
        blobs = self
        for relation in Blob._meta.related_objects:
            name = relation.field.attname
            blobs = blobs.exclude(
                Exists(relation.related_model._base_manager.filter(**{name: OuterRef("pk")}))
            )
        return blobs


class Blob(models.Model):
    """Bytes in the storage that never change. The object exists before this row and goes after it."""

    key = models.CharField(max_length=64, primary_key=True)
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=database_now, editable=False, db_index=True)

    objects = BlobQuerySet.as_manager()

    def __str__(self) -> str:
        return self.key


class Purpose(models.TextChoices):
    """What a file is for. Source: contract.md 1.4 and 6.1."""

    ASSISTANTS = "assistants"
    BATCH = "batch"
    FINE_TUNE = "fine-tune"
    VISION = "vision"
    USER_DATA = "user_data"
    EVALS = "evals"
    BATCH_OUTPUT = "batch_output"


class FileQuerySet(OwnedQuerySet):
    def expired(self, now: datetime.datetime) -> "FileQuerySet":
        return self.filter(expires_at__lte=now)

    def live(self, now: datetime.datetime) -> "FileQuerySet":
        return self.exclude(expires_at__lte=now)

    def stored_bytes(self) -> int:
        """Of all of the rows, also of those that have expired and are still there."""
        return int(self.order_by().aggregate(bytes=Sum("bytes", default=0))["bytes"])


class File(Owned):
    """A file a caller uploaded or a batch produced: an ordered list of parts."""

    id = models.CharField(max_length=64, primary_key=True, default=new_file_id, editable=False)
    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=20, choices=Purpose.choices)
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64, null=True, blank=True)  # noqa: DJ001 - null on the wire
    created_at = models.DateTimeField(default=database_now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, db_index=True)

    objects = FileQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["account", "external_user", "-created_at", "-id"], name="file_page"
            ),
            # The console's: all files, and those of an account, a user, a purpose, the newest first.
            models.Index(fields=["-created_at", "-id"], name="file_newest"),
            models.Index(fields=["account", "-created_at", "-id"], name="file_of_account"),
            models.Index(fields=["external_user", "-created_at", "-id"], name="file_of_user"),
            models.Index(fields=["purpose", "-created_at", "-id"], name="file_of_purpose"),
            # What an owner stores is summed up from these alone.
            models.Index(fields=["account", "bytes"], name="file_bytes_of_account"),
            models.Index(
                fields=["external_user", "bytes"],
                name="file_bytes_of_user",
                condition=Q(external_user__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.id

    def is_expired(self, now: datetime.datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


class FilePart(models.Model):
    """A range of a blob, in its place within a file. Many files may share one blob."""

    file = models.ForeignKey(File, on_delete=models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="file_parts")
    start = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["file", "number"], name="one_part_a_number")]

    def __str__(self) -> str:
        return f"{self.file_id}#{self.number}"
