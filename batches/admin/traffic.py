"""What lines brought over time, as the rows that the console's sums are made of."""

from django.contrib import admin

from batches.models import BatchMinute, OwnerHour, TrafficSlice
from console.pages import Look


@admin.register(BatchMinute)
class BatchMinuteAdmin(Look):
    list_display = ["batch", "minute", "completed", "failed", "calls"]
    list_select_related = ["batch"]
    search_fields = ["=batch__id"]
    search_help_text = "Id of a batch"
    ordering = ["-id"]


@admin.register(TrafficSlice)
class TrafficSliceAdmin(Look):
    list_display = ["start", "upstream", "model", "completed", "failed", "calls"]
    list_select_related = ["upstream"]
    ordering = ["-id"]


@admin.register(OwnerHour)
class OwnerHourAdmin(Look):
    list_display = ["hour", "account", "external_user", "completed", "failed", "calls"]
    list_select_related = ["account", "external_user__account"]
    ordering = ["-id"]
