"""How batches are cut, and where their results lie."""

from django.contrib import admin

from batches.admin.of_batch import OfBatch
from batches.models import Segment, Shard


@admin.register(Shard)
class ShardAdmin(OfBatch):
    list_display = ["__str__", "lines", "state", "owner", "epoch", "lease_expires_at"]
    list_select_related = ["owner"]


@admin.register(Segment)
class SegmentAdmin(OfBatch):
    list_display = ["shard", "attempt", "completed", "failed", "output_bytes", "error_bytes"]
    list_select_related = ["shard"]
    batch_field = "shard__batch"
