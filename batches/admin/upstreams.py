"""The model servers that lines are sent to."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from batches import acts
from batches.models import Upstream
from console.pages import Page
from console.parts import badge, figures, two_lines


def state_of(upstream: Upstream) -> tuple[str, str, str]:
    """What a badge says of an upstream, its tone, and more about it."""
    if upstream.paused_at is not None:
        return "paused", "warn", upstream.pause_reason
    if upstream.down_at is not None:
        return "down", "bad", upstream.last_error
    return "open", "good", ""


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
class UpstreamAdmin(Page):
    form = UpstreamForm
    list_display = ["upstream", "state", "models", "most"]
    list_display_links = ["upstream"]
    ordering = ["name"]
    verbs = [acts.PAUSE_UPSTREAM, acts.RESUME_UPSTREAM]

    def get_readonly_fields(self, request: HttpRequest, obj: Upstream | None = None) -> list[str]:
        return ["state", "created_at"] if obj else []

    def get_fields(self, request: HttpRequest, obj: Upstream | None = None) -> list[Any]:
        return [*UpstreamForm.Meta.fields, *self.get_readonly_fields(request, obj)]

    @admin.display(description="upstream", ordering="name")
    def upstream(self, upstream: Upstream) -> Any:
        return two_lines(upstream.name, upstream.base_url)

    @admin.display(description="state")
    def state(self, upstream: Upstream) -> Any:
        text, tone, told = state_of(upstream)
        return two_lines(badge(text, tone), told) if told else badge(text, tone)

    @admin.display(description="models")
    def models(self, upstream: Upstream) -> Any:
        return ", ".join(upstream.served_models) or "any"

    @admin.display(description="calls in flight, at most")
    def most(self, upstream: Upstream) -> Any:
        return figures(upstream.limit)
