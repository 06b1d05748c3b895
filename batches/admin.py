"""Batches and what runs them, for operators: rows of the machine are to look at, acts go through the domain."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from batches import lifecycle
from batches.models import (
    Batch,
    BatchMinute,
    Engine,
    Host,
    OwnerHour,
    Pace,
    Segment,
    Shard,
    Share,
    TrafficSlice,
    Transition,
    Upstream,
)
from files.admin import ReadOnly

EVERYTHING = lifecycle.Rerun(everything=True)


class Look(ReadOnly, admin.ModelAdmin):
    """A read-only page that stays fast however many rows there are."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_max_show_all = 0
    list_per_page = 50


class TransitionInline(ReadOnly, admin.TabularInline):
    model = Transition
    verbose_name_plural = "history"
    fields = ["at", "attempt", "from_status", "to_status", "actor", "reason"]
    ordering = ["id"]
    extra = 0


@admin.register(Batch)
class BatchAdmin(Look):
    list_display = (
        "id",
        "account",
        "external_user",
        "status",
        "total",
        "completed",
        "failed",
        "model",
        "endpoint",
        "created_at",
    )
    list_filter = ["status"]
    list_select_related = ["account", "external_user__account"]
    search_fields = ["=id", "=external_user__external_id", "=account__name"]
    ordering = ["-created_at", "-id"]
    inlines = [TransitionInline]
    actions = ["cancel", "requeue", "requeue_all"]
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

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("batches.cancel_batch")

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("batches.requeue_batch")

    @admin.action(description="Cancel the selected batches", permissions=["cancel"])
    def cancel(self, request: HttpRequest, batches: QuerySet[Batch]) -> None:
        self._each(request, batches, "Cancelled", lifecycle.cancel)

    @admin.action(description="Requeue failed and unfinished lines", permissions=["requeue"])
    def requeue(self, request: HttpRequest, batches: QuerySet[Batch]) -> None:
        self._each(request, batches, "Requeued", lifecycle.requeue)

    @admin.action(description="Requeue all lines, the good ones too", permissions=["requeue"])
    def requeue_all(self, request: HttpRequest, batches: QuerySet[Batch]) -> None:
        self._each(request, batches, "Requeued", lifecycle.requeue, rerun=EVERYTHING)

    def _each(
        self,
        request: HttpRequest,
        batches: QuerySet[Batch],
        done: str,
        act: Callable[..., None],
        **options: Any,
    ) -> None:
        """Act on each batch; one that refuses is named, and stops none of the others."""
        acted = 0
        for batch in batches:
            try:
                act(batch, actor=f"operator {request.user}", reason="from the admin", **options)
            except (Batch.Conflict, lifecycle.InputGone) as error:
                messages.error(request, str(error))
            else:
                self.log_change(request, batch, f"{done}.")
                acted += 1
        if acted:
            messages.success(request, f"{done}: {acted}.")


@admin.register(BatchMinute)
class BatchMinuteAdmin(Look):
    list_display = ["batch", "minute", "completed", "failed", "calls", "roll"]
    search_fields = ["=batch__id"]
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


@admin.register(Transition)
class TransitionAdmin(Look):
    list_display = ["batch", "at", "attempt", "from_status", "to_status", "actor", "reason"]
    list_select_related = ["batch"]
    search_fields = ["=batch__id"]
    ordering = ["-id"]


@admin.register(Shard)
class ShardAdmin(Look):
    list_display = ["__str__", "lines", "state", "owner", "epoch", "lease_expires_at"]
    list_select_related = ["owner"]
    list_filter = ["state"]
    search_fields = ["=batch__id"]
    ordering = ["-id"]


@admin.register(Segment)
class SegmentAdmin(Look):
    list_display = ["shard", "attempt", "completed", "failed", "output_bytes", "error_bytes"]
    list_select_related = ["shard"]
    search_fields = ["=shard__batch__id"]
    ordering = ["-id"]


@admin.register(Host)
class HostAdmin(Look):
    list_display = ["name", "pid", "version", "slots", "started_at", "lease_expires_at"]
    ordering = ["-lease_expires_at"]


@admin.register(Engine)
class EngineAdmin(Look):
    list_display = ["host", "pid", "in_flight", "stopping", "started_at", "lease_expires_at"]
    ordering = ["-lease_expires_at"]


@admin.register(Share)
class ShareAdmin(Look):
    list_display = ["engine", "batch", "upstream", "wanted", "slots"]
    list_select_related = ["engine", "batch", "upstream"]
    ordering = ["id"]


@admin.register(Pace)
class PaceAdmin(Look):
    list_display = ["upstream", "model", "calls", "found_at"]
    list_select_related = ["upstream"]
    ordering = ["id"]


class UpstreamForm(forms.ModelForm):
    """The key goes in and never comes out: an empty field keeps the one there is."""

    api_key = forms.CharField(
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Never shown. Leave it empty to keep the present one.",
    )

    class Meta:
        model = Upstream
        fields = ["name", "base_url", "api_key", "served_models", "limit", "timeout_seconds"]

    def clean_api_key(self) -> str:
        return str(self.cleaned_data["api_key"] or self.instance.api_key)

    def clean_served_models(self) -> list[str]:
        models = self.cleaned_data["served_models"] or []
        if not isinstance(models, list) or not all(isinstance(name, str) for name in models):
            raise forms.ValidationError('A list of texts, such as ["model-a", "model-b"].')
        return models


@admin.register(Upstream)
class UpstreamAdmin(admin.ModelAdmin):
    form = UpstreamForm
    list_display = ["name", "base_url", "limit", "paused_at", "pause_reason"]
    readonly_fields = ["paused_at", "pause_reason", "created_at"]
    actions = ["pause", "resume"]

    @admin.action(description="Pause the selected upstreams", permissions=["change"])
    def pause(self, request: HttpRequest, upstreams: QuerySet[Upstream]) -> None:
        for upstream in upstreams:
            if upstream.pause(f"by {request.user}"):
                self.log_change(request, upstream, "Paused.")

    @admin.action(description="Resume the selected upstreams", permissions=["change"])
    def resume(self, request: HttpRequest, upstreams: QuerySet[Upstream]) -> None:
        for upstream in upstreams:
            if upstream.resume():
                self.log_change(request, upstream, "Resumed.")
