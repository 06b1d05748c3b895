"""The list of batches, and a batch."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.pages import AccountFilter, ExternalUserFilter, OwnedLook
from batches import acts
from batches.models import TERMINAL, Batch, Status, Transition
from console import live
from console.charts import Progress
from console.pages import MOST_COUNTED, Look, ReadOnly, Tabs
from console.parts import badge, figures, moment, page_of, progress_cell, short_id, two_lines
from console.text import number

TONES = {
    Status.VALIDATING: "calm",
    Status.FAILED: "bad",
    Status.IN_PROGRESS: "live",
    Status.FINALIZING: "calm",
    Status.COMPLETED: "good",
    Status.EXPIRED: "warn",
    Status.CANCELLING: "warn",
    Status.CANCELLED: "idle",
}
ACTIVE = [status for status in Status if status not in TERMINAL]


def state_of(batch: Batch) -> tuple[str, str, str]:
    """What a badge says of the state, its tone, and more about it.

    A batch of which nothing is done yet waits, although its state says that it goes on.
    """
    if batch.status == Status.IN_PROGRESS and not batch.completed + batch.failed:
        return "queued", "calm", "in progress; no line is done yet"
    status = Status(batch.status)
    return status.label, TONES[status], ""


def progress_of(batch: Batch) -> Progress:
    return Progress(batch.completed, batch.failed, batch.total)


class StatusTabs(Tabs):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        ended = [
            (status.value, status.label.capitalize()) for status in Status if status in TERMINAL
        ]
        return [("active", "Active"), *ended]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        if self.value() == "active":
            return rows.filter(status__in=ACTIVE)
        return rows.filter(status=self.value()) if self.value() in Status.values else None

    def counts(self) -> dict[str, int]:
        return {"active": Batch.objects.filter(status__in=ACTIVE)[: MOST_COUNTED + 1].count()}


class TransitionInline(ReadOnly, admin.TabularInline):
    model = Transition
    verbose_name_plural = "history"
    fields = ["at", "attempt", "from_status", "to_status", "actor", "reason"]
    ordering = ["id"]
    extra = 0


@admin.register(Batch)
class BatchAdmin(OwnedLook):
    list_display = ["batch", "owner", "state", "progress", "lost", "runs", "created"]
    list_display_links = None
    list_filter = [StatusTabs, AccountFilter, ExternalUserFilter]
    search_help_text = "Id, external user or account"
    id_prefix = "batch_"
    ordering = ["-created_at", "-id"]
    sortable_by = ["created"]
    inlines = [TransitionInline]
    verbs = [acts.CANCEL, acts.REQUEUE, acts.REQUEUE_ALL]
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

    def changes_of(self, batch: Batch) -> dict[str, live.Change]:
        changes = {"state": live.badge(*state_of(batch)), "lost": live.text(number(batch.failed))}
        return changes | live.progress(progress_of(batch))

    @admin.display(description="batch")
    def batch(self, batch: Batch) -> Any:
        shown = short_id(batch.pk, page_of(batch))
        description = (batch.metadata or {}).get("description")
        return two_lines(shown, description) if description else shown

    @admin.display(description="status")
    def state(self, batch: Batch) -> Any:
        return badge(*state_of(batch), live=f"{batch.pk}.state")

    @admin.display(description="progress")
    def progress(self, batch: Batch) -> Any:
        return progress_cell(progress_of(batch), live=batch.pk)

    @admin.display(description="failed")
    def lost(self, batch: Batch) -> Any:
        return figures(batch.failed, live=f"{batch.pk}.lost")

    @admin.display(description="model")
    def runs(self, batch: Batch) -> Any:
        return two_lines(batch.model, batch.endpoint)

    @admin.display(description="created", ordering="created_at")
    def created(self, batch: Batch) -> Any:
        return moment(batch.created_at)


@admin.register(Transition)
class TransitionAdmin(Look):
    list_display = ["batch", "at", "attempt", "from_status", "to_status", "actor", "reason"]
    list_select_related = ["batch"]
    search_fields = ["=batch__id"]
    ordering = ["-id"]
