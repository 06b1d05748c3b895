"""Accounts, their keys and their external users, for operators."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelForm, MultipleChoiceField
from django.forms.widgets import CheckboxSelectMultiple
from django.http import HttpRequest

from accounts.models import SCOPES, Account, ApiKey, ExternalUser

OPTIONS = ["name", "scopes", "on_behalf_of", "expires_at"]  # what a key is made with


@admin.register(Account)
class AccountAdmin(admin.ModelAdmin):
    list_display = ["name", "is_active", "created_at"]
    search_fields = ["name"]
    readonly_fields = ["created_at"]


class ApiKeyForm(ModelForm):
    scopes = MultipleChoiceField(
        choices=[(scope, scope) for scope in SCOPES],
        widget=CheckboxSelectMultiple,
        initial=list(SCOPES),
    )


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """Keys are made and revoked here. A secret is shown once, in the message after it was made."""

    form = ApiKeyForm
    list_display = ["prefix", "name", "account", "last_used_at", "expires_at", "revoked_at"]
    list_filter = ["account", "on_behalf_of"]
    list_select_related = ["account"]
    search_fields = ["prefix", "name", "account__name"]
    actions = ["revoke"]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        return ["account", "prefix", "created_at", "revoked_at", "last_used_at"] if obj else []

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[Any]:
        shown = ["prefix", "created_at", "revoked_at", "last_used_at"] if obj else []
        return ["account", *OPTIONS, *shown]

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False  # revoked instead, so that its batches still name it

    def save_model(self, request: HttpRequest, obj: ApiKey, form: ModelForm, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        options = {name: form.cleaned_data[name] for name in OPTIONS}
        key, secret = ApiKey.objects.issue(obj.account, **options)
        obj.pk, obj.prefix = key.pk, key.prefix  # the row the admin goes on with
        messages.warning(request, f"The secret, shown only this once: {secret}")

    @admin.action(description="Revoke the selected keys", permissions=["change"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        for key in keys:
            key.revoke()
            self.log_change(request, key, "Revoked.")
        messages.success(request, f"Revoked: {', '.join(key.prefix for key in keys)}.")


@admin.register(ExternalUser)
class ExternalUserAdmin(admin.ModelAdmin):
    list_display = ["external_id", "account", "created_at"]
    list_select_related = ["account"]
    list_filter = ["account"]
    search_fields = ["external_id"]
    fields = ["account", "external_id", "created_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
