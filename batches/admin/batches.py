"""The list of batches."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.pages import AccountFilter, ExternalUserFilter
from batches import acts
from batches.admin.batch_page import BatchPage
from batches.admin.status import progress_of, state_of
from batches.models import TERMINAL, Batch, Status, Transition
from console import live
from console.pages import MOST_COUNTED, Look, Tabs
from console.parts import badge, figures, moment, page_of, progress_cell, short_id, two_lines
from console.text import number

ACTIVE = [status for status in Status if status not in TERMINAL]


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


@admin.register(Batch)
class BatchAdmin(BatchPage):
    list_display = ["batch", "owner", "state", "progress", "lost", "runs", "created"]
    list_display_links = None
    list_filter = [StatusTabs, AccountFilter, ExternalUserFilter]
    search_help_text = "Id, external user or account"
    id_prefix = "batch_"
    ordering = ["-created_at", "-id"]
    sortable_by = ["created"]
    verbs = [
        acts.PAUSE,
        acts.RESUME,
        acts.PRIORITIZE,
        acts.REQUEUE,
        acts.REQUEUE_CAUSES,
        acts.REQUEUE_LINES,
        acts.REQUEUE_ALL,
        acts.EXPIRE,
        acts.CANCEL,
    ]

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
