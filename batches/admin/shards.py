"""How batches are cut, and where their results lie."""

from django.contrib import admin

from batches.models import Segment, Shard
from console.pages import Look


@admin.register(Shard)
class ShardAdmin(Look):
    list_display = ["__str__", "lines", "state", "owner", "epoch", "lease_expires_at"]
    list_select_related = ["owner"]
    list_filter = ["state"]
    search_fields = ["=batch__id"]
    search_help_text = "Id of a batch"
    ordering = ["-id"]


@admin.register(Segment)
class SegmentAdmin(Look):
    list_display = ["shard", "attempt", "completed", "failed", "output_bytes", "error_bytes"]
    list_select_related = ["shard"]
    search_fields = ["=shard__batch__id"]
    search_help_text = "Id of a batch"
    ordering = ["-id"]
