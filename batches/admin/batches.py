"""The list of batches."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts.pages import AccountFilter, ExternalUserFilter
from batches import acts
from batches.admin.batch_page import BatchPage
from batches.admin.export import export
from batches.admin.filters import (
    CreatedFilter,
    EndpointFilter,
    FailuresFilter,
    ModelFilter,
    StateTabs,
)
from batches.admin.finding import ways_of_metadata
from batches.admin.of_batch import OfBatch
from batches.admin.status import left_of, pause_of, priority_of, progress_of, state_of
from batches.models import Batch, Transition
from batches.speed import speeds
from console import live
from console.acts import MOST, TooMany
from console.pages import Rows
from console.parts import (
    badge,
    figures,
    followed_text,
    in_a_row,
    moment,
    page_of,
    progress_cell,
    short_id,
    two_lines,
)
from console.text import ago, duration, number
from console.timed import Timed

EXPORT = "batches.export_batch"
UNSHOWN = ("errors", "closed_by", "close_reason")  # which can be long


class BatchRows(Rows):
    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        return super().get_queryset(request, exclude_parameters).defer(*UNSHOWN)


@admin.register(Batch)
class BatchAdmin(Timed, BatchPage):
    list_display = ["batch", "owner", "state", "progress", "lost", "runs", "times"]
    list_display_links = None
    list_filter = [
        StateTabs,
        AccountFilter,
        ExternalUserFilter,
        ModelFilter,
        EndpointFilter,
        FailuresFilter,
        CreatedFilter,
    ]
    search_help_text = "Id, user, account, or key=value"
    id_prefix = "batch_"
    ordering = ["-created_at", "-id"]
    sortable_by = ["times"]
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

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BatchRows

    def ways(self, rows: QuerySet[Any], text: str) -> tuple[list[QuerySet[Any, Any]], str]:
        ways, cut = super().ways(rows, text)
        if not text.startswith(self.id_prefix):
            ways += ways_of_metadata(rows, text)
        return ways, cut

    # Export

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        if request.user.has_perm(EXPORT):
            actions["export"] = (BatchAdmin.export, "export", "Export")
        return actions

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        downloads = [("export", "Export")] if request.user.has_perm(EXPORT) else []
        return super().changelist_view(request, {"downloads": downloads} | (extra_context or {}))

    def export(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponseBase | None:
        """The table of those that are ticked, or of all that match."""
        if not request.user.has_perm(EXPORT):
            raise PermissionDenied
        is_all = request.POST.get("select_across") == "1"
        try:
            return export(request, rows, self.filter_told(request) if is_all else "ticked")
        except TooMany:
            text = f"More than {number(MOST)} match, and one table has at most so many: filter."
            messages.error(request, text)
            return None

    # What moves

    def prepare(self, rows: Sequence[Any]) -> None:
        super().prepare(rows)
        found = speeds(rows, rows[0].seen_at) if rows else {}
        for row in rows:
            row.left = left_of(row, found)

    def changes_of(self, batch: Any) -> dict[str, live.Change]:
        paused, priority = pause_of(batch), priority_of(batch)
        return {
            "state": live.badge(*state_of(batch)),
            "paused": live.shown(bool(paused)),
            "priority": live.shown(bool(priority)) | live.text(priority),
            "lost": live.text(number(batch.failed)),
            "when": live.text(when(batch)),
        } | live.progress(progress_of(batch), batch.left)

    # Columns

    @admin.display(description="batch")
    def batch(self, batch: Batch) -> Any:
        shown = short_id(batch.pk, page_of(batch))
        description = (batch.metadata or {}).get("description")
        return two_lines(shown, description) if description else shown

    @admin.display(description="status")
    def state(self, batch: Batch) -> Any:
        paused, priority = pause_of(batch), priority_of(batch)
        return in_a_row(
            badge(*state_of(batch), live=f"{batch.pk}.state"),
            badge("paused", "warn", paused, f"{batch.pk}.paused", is_shown=bool(paused)),
            badge(priority, "calm", "", f"{batch.pk}.priority", is_shown=bool(priority)),
        )

    @admin.display(description="progress")
    def progress(self, batch: Any) -> Any:
        return progress_cell(progress_of(batch), live=batch.pk, left=batch.left)

    @admin.display(description="failed")
    def lost(self, batch: Batch) -> Any:
        lines = self._url("lines", batch)
        return figures(batch.failed, f"{batch.pk}.lost", f"{lines}?state=failed")

    @admin.display(description="model")
    def runs(self, batch: Batch) -> Any:
        return two_lines(batch.model, batch.endpoint)

    @admin.display(description="created", ordering="created_at")
    def times(self, batch: Any) -> Any:
        return two_lines(moment(batch.created_at), followed_text(when(batch), f"{batch.pk}.when"))


def when(batch: Any) -> str:
    """When a batch that runs expires, or how long one that has ended took, from its creation on."""
    if batch.is_terminal:
        took = (batch.ended_at or batch.created_at) - batch.created_at
        return f"took {duration(max(took.total_seconds(), 0))}"
    if batch.expires_at <= batch.seen_at:
        return "window has closed"
    return f"expires {ago(batch.expires_at, batch.seen_at)}"


@admin.register(Transition)
class TransitionAdmin(OfBatch):
    list_display = ["batch", "at", "attempt", "from_status", "to_status", "actor", "reason"]
    list_select_related = ["batch"]
