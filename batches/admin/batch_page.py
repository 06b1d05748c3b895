"""The page of one batch."""

from django.contrib import admin
from django.http import HttpRequest

from accounts.pages import OwnedLook
from batches.models import Batch, Transition
from console.pages import ReadOnly


class TransitionInline(ReadOnly, admin.TabularInline):
    model = Transition
    verbose_name_plural = "history"
    fields = ["at", "attempt", "from_status", "to_status", "actor", "reason"]
    ordering = ["id"]
    extra = 0


class BatchPage(OwnedLook):
    """What one batch shows; the list is a subclass."""

    inlines = [TransitionInline]
    fieldsets = [
        (None, {"fields": ["id", "status", "attempt", "total", "completed", "failed", "errors"]}),
        ("Asked for", {"fields": ["account", "external_user", "created_by", "endpoint", "model"]}),
        (
            "Limits",
            {"fields": ["completion_window", "expires_at", "max_concurrency", "upstream"]},
        ),
        ("Files", {"fields": ["input_file_id", "output_file_id", "error_file_id"]}),
        (
            "Tokens",
            {"fields": [("input_tokens", "cached_tokens"), ("output_tokens", "reasoning_tokens")]},
        ),
        ("Metadata", {"fields": ["metadata"]}),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: Batch | None = None) -> list[str]:
        return ["input_file_id", "output_file_id", "error_file_id"]
