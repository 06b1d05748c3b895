"""Accounts, their keys and their external users, for operators."""

import json
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.forms import ModelForm, MultipleChoiceField
from django.forms.widgets import CheckboxSelectMultiple
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from accounts import acts
from accounts.models import SCOPES, Account, ApiKey, ExternalUser
from accounts.pages import MOST_OWNERS, AccountFilter, cut_of
from accounts.secrets import UnreadableSecret, decrypt, encrypt
from api.clock import database_now
from console.pages import Look, Page, Tabs, begins_with
from console.parts import badge, link, moment, page_of, two_lines

OPTIONS = ["name", "scopes", "on_behalf_of", "expires_at"]  # what a key is made with
SHOWN_ONCE = "secret_of_new_key"  # in the session, encrypted, until it is shown
NEVER = "never"


class ActiveTabs(Tabs):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("suspended", "Suspended")]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        return rows.filter(is_active=self.value() == "active") if self.value() else None


def active_badge(one: Account | ExternalUser) -> Any:
    return badge("active", "good") if one.is_active else badge("suspended", "bad")


@admin.register(Account)
class AccountAdmin(Page):
    """Accounts are suspended, never deleted: what they made still names them."""

    list_display = ["name", "state", "created"]
    list_filter = [ActiveTabs]
    search_fields = ["name"]
    search_help_text = "Name"
    ordering = ["name"]
    fields = ["name"]
    verbs = [acts.LIMIT, acts.SUSPEND, acts.REINSTATE]
    grants = ("view", "add", "change")

    def get_fields(self, request: HttpRequest, obj: Account | None = None) -> list[Any]:
        return ["name", "state", "created"] if obj else ["name"]

    def get_readonly_fields(self, request: HttpRequest, obj: Account | None = None) -> list[str]:
        return ["state", "created"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="state")
    def state(self, account: Account) -> Any:
        return active_badge(account)

    @admin.display(description="created", ordering="created_at")
    def created(self, account: Account) -> Any:
        return moment(account.created_at)


class KeyTabs(Tabs):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        return [("live", "Live"), ("expired", "Expired"), ("revoked", "Revoked")]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        valid = Q(expires_at__isnull=True) | Q(expires_at__gt=database_now())
        wanted = {
            "live": valid & Q(revoked_at__isnull=True, account__is_active=True),
            "expired": ~valid & Q(revoked_at__isnull=True),
            "revoked": Q(revoked_at__isnull=False),
        }.get(self.value() or "")
        return None if wanted is None else rows.filter(wanted)


class ApiKeyForm(ModelForm):
    scopes = MultipleChoiceField(
        choices=[(scope, scope) for scope in SCOPES],
        widget=CheckboxSelectMultiple,
        initial=list(SCOPES),
    )


@admin.register(ApiKey)
class ApiKeyAdmin(Page):
    """Keys are made and revoked here. A secret is shown once, on the page after it was made."""

    form = ApiKeyForm
    list_display = ["key", "owner", "state", "may", "last_used", "expires", "created"]
    list_display_links = None
    list_filter = [KeyTabs, "on_behalf_of", AccountFilter]
    begun = ("account",)
    list_select_related = ["account"]
    search_fields = ["prefix"]
    search_help_text = "Key, its name or its account"
    ordering = ["-created_at", "-id"]
    verbs = [acts.REVOKE]
    grants = ("view", "add", "change")  # revoked, never deleted: its batches still name it

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        shown = ["prefix", "state", "last_used", "created", "revoked"]
        return ["account", *shown] if obj else []

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[Any]:
        shown = ["state", "prefix", "last_used", "created", "revoked"] if obj else []
        return ["account", *OPTIONS, *shown]

    def find(self, rows: QuerySet[Any], text: str) -> QuerySet[Any]:
        begun = Account.objects.filter(begins_with("name", text)).order_by("name")
        accounts = list(begun.values_list("pk", flat=True)[: MOST_OWNERS + 1])
        wanted = begins_with("prefix", text[:17]) | Q(name__icontains=text)
        found: Any = rows.filter(wanted | Q(account__in=accounts[:MOST_OWNERS]))
        found.cut = cut_of("accounts whose names begin so", accounts)
        return found  # type: ignore[no-any-return]

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    # Making one

    def save_model(self, request: HttpRequest, obj: ApiKey, form: ModelForm, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        options = {name: form.cleaned_data[name] for name in OPTIONS}
        key, secret = ApiKey.objects.issue(obj.account, **options)
        obj.pk, obj.prefix = key.pk, key.prefix  # the row the admin goes on with
        request.session[SHOWN_ONCE] = encrypt(json.dumps([key.pk, secret]))

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:accounts_apikey_secret", args=[obj.pk]))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.secret_view)
        secret = path("<int:key_id>/secret/", view, name="accounts_apikey_secret")
        return [secret, *super().get_urls()]

    def secret_view(self, request: HttpRequest, key_id: int) -> HttpResponse:
        """Show the secret of a key that this operator has just made; the second time it is gone."""
        key = self.get_queryset(request).filter(pk=key_id).first()
        if key is None:
            raise Http404
        if not self.has_add_permission(request):
            raise PermissionDenied
        context = self.admin_site.each_context(request)
        context |= {"title": f"API key {key.name}", "key": key, "back": page_of(key)}
        context["secret"] = _taken(request, key)
        return TemplateResponse(request, "accounts/secret.html", context)

    # Columns

    @admin.display(description="API key", ordering="prefix")
    def key(self, key: Any) -> Any:
        return two_lines(link(f"{key.prefix}…", page_of(key)), key.name)

    @admin.display(description="account")
    def owner(self, key: ApiKey) -> Any:
        return link(key.account.name, page_of(key.account))

    @admin.display(description="state")
    def state(self, key: Any) -> Any:
        return badge(*key.state_at(key.seen_at, key.account.is_active))

    @admin.display(description="may")
    def may(self, key: ApiKey) -> Any:
        """What it is allowed, in a few words."""
        scopes = "everything" if set(key.scopes) == set(SCOPES) else ", ".join(key.scopes)
        return two_lines(scopes or "nothing", key.get_on_behalf_of_display())

    @admin.display(description="last used", ordering="last_used_at")
    def last_used(self, key: Any) -> Any:
        return moment(key.last_used_at, key.seen_at) if key.last_used_at else NEVER

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, key: ApiKey) -> Any:
        return moment(key.expires_at) if key.expires_at else NEVER

    @admin.display(description="created", ordering="created_at")
    def created(self, key: ApiKey) -> Any:
        return moment(key.created_at)

    @admin.display(description="revoked")
    def revoked(self, key: ApiKey) -> Any:
        return moment(key.revoked_at)


def _taken(request: HttpRequest, key: ApiKey) -> str | None:
    """Take the secret of this key out of the session; None if it is not there any more."""
    kept = request.session.pop(SHOWN_ONCE, None)
    try:
        key_id, secret = json.loads(decrypt(kept)) if kept else (None, None)
    except UnreadableSecret:
        return None
    return str(secret) if key_id == key.pk else None


@admin.register(ExternalUser)
class ExternalUserAdmin(Look):
    """Users of callers' own, made by the API on first use."""

    list_display = ["external_user", "of", "state", "created"]
    list_display_links = None
    list_select_related = ["account"]
    list_filter = [ActiveTabs, AccountFilter]
    search_fields = ["external_id"]
    search_help_text = "Beginning of the id"
    fields = ["account", "external_id", "state", "created"]
    readonly_fields = ["state", "created"]
    ordering = ["-id"]
    verbs = [acts.LIMIT_USER, acts.SUSPEND_USER, acts.REINSTATE_USER]

    def find(self, rows: QuerySet[Any], text: str) -> QuerySet[Any]:
        return rows.filter(begins_with("external_id", text))

    @admin.display(description="external user")
    def external_user(self, user: ExternalUser) -> Any:
        return link(user.external_id, page_of(user))

    @admin.display(description="account")
    def of(self, user: ExternalUser) -> Any:
        return link(user.account.name, page_of(user.account))

    @admin.display(description="state")
    def state(self, user: ExternalUser) -> Any:
        return active_badge(user)

    @admin.display(description="created", ordering="created_at")
    def created(self, user: ExternalUser) -> Any:
        return moment(user.created_at)
