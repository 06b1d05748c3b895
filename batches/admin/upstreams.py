"""The model servers that lines are sent to: their list, their page, and the button that tries one."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from batches import acts, overview, upstreams
from batches.admin.graphs import WITH_FAILURES, latencies, list_url, throughput
from batches.models import Batch, Pace, Status, Upstream
from console.acts import By, record
from console.pages import Page
from console.parts import badge, link, moment, page_of, two_lines
from console.text import number

LONG_KEY = 16  # characters; of a shorter one the last four would tell too much


def state_of(upstream: Upstream) -> tuple[str, str, str]:
    """What a badge says of an upstream, its tone, and more about it."""
    if upstream.paused_at is not None:
        return "paused", "warn", upstream.pause_reason
    if upstream.down_at is not None:
        return "down", "bad", upstream.last_error
    return "open", "good", ""


def key_told(key: str) -> str:
    """What is told of a key: whether there is one, and which, to those who know it."""
    if not key:
        return "none"
    return f"set; ends in {key[-4:]}" if len(key) >= LONG_KEY else "set"


class LinesField(forms.CharField):
    """Lines of text, whatever ends them: browsers send CR LF, which is no change."""

    def to_python(self, value: Any) -> Any:
        return "\n".join((super().to_python(value) or "").splitlines())


class UpstreamForm(forms.ModelForm):
    """The key goes in and never comes out: an empty field keeps the one there is."""

    api_key = forms.CharField(
        required=False,
        label="API key",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )
    served_models = LinesField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="One a line; none means that it takes any.",
    )

    class Meta:
        model = Upstream
        fields = ["name", "base_url", "api_key", "served_models", "limit", "timeout_seconds"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["api_key"] = ""
        self.initial["served_models"] = "\n".join(self.instance.served_models)
        key = self.fields.get("api_key")
        if key is not None:
            kept = key_told(self.instance.api_key)
            key.help_text = f"Now: {kept}. It is never shown; an empty field keeps it."

    def clean_api_key(self) -> str:
        return str(self.cleaned_data["api_key"] or self.instance.api_key)

    def clean_served_models(self) -> list[str]:
        lines = (line.strip() for line in self.cleaned_data["served_models"].splitlines())
        return list(dict.fromkeys(filter(None, lines)))


@admin.register(Upstream)
class UpstreamAdmin(Page):
    form = UpstreamForm
    list_display = ["upstream", "state", "models", "calls", "last_trouble"]
    list_display_links = None
    ordering = ["name"]
    verbs = [acts.PAUSE_UPSTREAM, acts.RESUME_UPSTREAM]
    records = [upstreams.TEST]
    change_form_template = "batches/upstream.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Upstream]:
        return overview.with_slots(super().get_queryset(request))

    def get_fields(self, request: HttpRequest, obj: Upstream | None = None) -> list[Any]:
        # Who may only look gets the fields as they are, and the key is not for looking at.
        if obj is not None and not self.has_change_permission(request, obj):
            return ["name", "base_url", "key", "models", "limit", "timeout_seconds"]
        return list(UpstreamForm.Meta.fields)

    def get_readonly_fields(self, request: HttpRequest, obj: Upstream | None = None) -> list[str]:
        return ["key", "models"]

    # Changed by the form

    def save_model(self, request: HttpRequest, obj: Upstream, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        obj.save(update_fields=form.changed_data)  # engines write the other fields meanwhile
        if {"api_key", "base_url"} & set(form.changed_data) and upstreams.resume_corrected(obj):
            verb, why = acts.RESUME_UPSTREAM, "its key or its address was corrected"
            record(By.request(request), verb.name, obj, outcome=verb.done, reason=why)
            messages.success(request, f"The upstream was paused for a refused key; {why}: resumed.")

    # Tried with a real call

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_POST(self.test_view))
        return [
            path("<path:object_id>/test/", view, name="batches_upstream_test"),
            *super().get_urls(),
        ]

    def test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Call the upstream, show what came, and keep in the log that it was done."""
        upstream = self.get_object(request, unquote(object_id))
        may_test = request.user.has_perm("batches.test_upstream")
        if not (may_test and self.has_view_or_change_permission(request, upstream)):
            raise PermissionDenied
        if upstream is None:
            raise Http404
        tries = upstreams.try_and_log(upstream, By.request(request))
        context = self.admin_site.each_context(request)
        context |= {"title": f"Test of {upstream}", "upstream": upstream, "tries": tries}
        context |= {"name": self.admin_site.name_of(Upstream), "back": page_of(upstream)}
        return TemplateResponse(request, "batches/upstream_test.html", context)

    # The page

    def shown_of(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        may_test = request.user.has_perm("batches.test_upstream")
        points, models = overview.day_of(row, row.seen_at)
        waiting = Batch.objects.active().filter(upstream=row).order_by()
        day = {"since": "day", "upstream__id__exact": row.pk}
        return {
            "state": state_of(row),
            "test": reverse("admin:batches_upstream_test", args=[row.pk]) if may_test else "",
            "throughput": throughput(points, "batches_trafficslice", upstream__id__exact=row.pk),
            "latencies": latencies(points),
            "models": [
                (
                    one,
                    list_url("batches_trafficslice", **day, model=one.model),
                    list_url("batches_trafficslice", **day, model=one.model, **WITH_FAILURES),
                )
                for one in models
            ],
            "paces": dict(Pace.objects.filter(upstream=row).values_list("model", "calls")),
            "batches": [
                (
                    number(count),
                    Status(status).label,
                    list_url("batches_batch", state=status, upstream__id__exact=row.pk),
                )
                for status, count in waiting.values_list("status").annotate(Count("pk"))
            ],
        }

    # Columns

    @admin.display(description="upstream", ordering="name")
    def upstream(self, upstream: Upstream) -> Any:
        return two_lines(link(upstream.name, page_of(upstream)), upstream.base_url)

    @admin.display(description="state")
    def state(self, upstream: Upstream) -> Any:
        text, tone, told = state_of(upstream)
        return two_lines(badge(text, tone), told) if told else badge(text, tone)

    @admin.display(description="models")
    def models(self, upstream: Upstream) -> Any:
        return ", ".join(upstream.served_models) or "any"

    @admin.display(description="API key")
    def key(self, upstream: Upstream) -> Any:
        return key_told(upstream.api_key)

    @admin.display(description="calls / limit")
    def calls(self, upstream: Any) -> Any:
        limit = "none" if upstream.limit is None else number(upstream.limit)
        return f"{number(upstream.slots or 0)} / {limit}"

    @admin.display(description="last error")
    def last_trouble(self, upstream: Any) -> Any:
        if not upstream.last_error:
            return ""
        return two_lines(upstream.last_error, moment(upstream.last_error_at, upstream.seen_at))
