"""The operator log, and the operators themselves."""

import datetime
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import Group, Permission, User
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.forms import CheckboxSelectMultiple
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from api.clock import database_now
from console.acts import VERBS
from console.models import Act, ActObject, kind_of
from console.pages import Look, Page, Tabs, Typed, begins_with
from console.parts import badge, link, moment, page_of, two_lines
from console.reasons import PasswordForm
from console.text import number, visible

OBJECTS_A_PAGE = 100
MOST_FOUND = 1000  # acts that a search for an object may lead to
REASON_CHARS = 120


class OutcomeTabs(Tabs):
    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        return [("refused", "With refusals"), ("unfinished", "Going on")]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        wanted = {"refused": Q(refused__gt=0), "unfinished": Q(finished_at__isnull=True)}
        return rows.filter(wanted[self.value()]) if self.value() in wanted else None  # type: ignore[index]


class VerbFilter(admin.SimpleListFilter):
    """What was done. The choices are what can be done, for to ask the log would read all of it."""

    title = "verb"
    parameter_name = "verb"

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        changes = (
            f"{change} {kind_of(model)}"
            for model, other in page.admin_site._registry.items()
            for change in ("add", "change", "delete")
            if change in getattr(other, "grants", ())
        )
        recorded = (
            verb
            for other in page.admin_site._registry.values()
            for verb in getattr(other, "records", ())
        )
        return [(verb, verb) for verb in sorted({*VERBS, *changes, *recorded})]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        return rows.filter(verb=self.value()) if self.value() else None


class OperatorFilter(Typed):
    title = "operator"
    parameter_name = "operator"
    hint = "name of the operator"

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        if not self.text:
            return None
        return rows.filter(operator__in=[self.text, f"operator {self.text}"])


class TimeFilter(admin.SimpleListFilter):
    title = "time"
    parameter_name = "time"
    SPANS = {"hour": 1, "day": 24, "week": 7 * 24, "month": 30 * 24}  # in hours

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        return [
            ("hour", "last hour"),
            ("day", "last 24 hours"),
            ("week", "last 7 days"),
            ("month", "last 30 days"),
        ]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        hours = self.SPANS.get(self.value() or "")
        if hours is None:
            return None
        return rows.filter(at__gte=database_now() - datetime.timedelta(hours=hours))


@admin.register(Act)
class ActAdmin(Look):
    """Who did what, when, to what, why, and what came of it. It only grows."""

    list_display = ["when", "who", "what", "why", "came_of_it"]
    list_display_links = None
    list_filter = [OutcomeTabs, OperatorFilter, VerbFilter, TimeFilter]
    search_fields = ["operator"]
    search_help_text = "Id or name of an object, or an operator"
    ordering = ["-at", "-id"]
    sortable_by = ["when"]
    change_form_template = "console/act.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        first = ActObject.objects.filter(act=OuterRef("pk")).order_by("id").values("label")[:1]
        return super().get_queryset(request).annotate(first_label=Subquery(first))

    def find(self, rows: QuerySet[Any], text: str) -> QuerySet[Any]:
        touched = ActObject.objects.filter(Q(object_id=text) | begins_with("label", text))
        acts = touched.order_by("-act").values_list("act", flat=True).distinct()[:MOST_FOUND]
        by = Q(operator=text) | Q(operator=f"operator {text}")
        return rows.filter(Q(pk__in=list(acts)) | by)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> Any:
        act: Act = obj
        page: Any = Paginator(act.affected.order_by("-is_refusal", "id"), OBJECTS_A_PAGE).get_page(
            request.GET.get("p")
        )
        pages = self._pages()
        for one in page:
            one.url = pages.get(one.kind, "") and f"{pages[one.kind]}{quote(one.object_id)}/change/"
        context |= {"affected": page, "outcomes": outcomes(act)}
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _pages(self) -> dict[str, str]:
        """Return the address of the page of each kind of object, up to the object's id."""
        found = {}
        for model in self.admin_site._registry:
            name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
            found[kind_of(model)] = reverse(name)
        return found

    @admin.display(description="when", ordering="at")
    def when(self, act: Act) -> Any:
        return moment(act.at)

    @admin.display(description="who")
    def who(self, act: Act) -> Any:
        return two_lines(act.operator, act.address)

    @admin.display(description="what")
    def what(self, act: Any) -> Any:
        more = f" and {number(act.total - 1)} more" if act.total > 1 else ""
        return two_lines(link(act.verb, page_of(act)), f"{act.first_label or 'nothing'}{more}")

    @admin.display(description="why")
    def why(self, act: Act) -> Any:
        return visible(act.reason, REASON_CHARS)

    @admin.display(description="outcome")
    def came_of_it(self, act: Act) -> Any:
        return outcomes(act)


def outcomes(act: Act) -> SafeString:
    """How many of its objects came to which end."""
    shown = [(f"{number(act.done)} done", "good", act.done or not act.total)]
    shown += [(f"{number(act.refused)} refused", "warn", act.refused)]
    shown += [(f"{number(act.left)} to do", "live", act.left)]
    return format_html_join(
        " ", "{}", ((badge(text, tone),) for text, tone, count in shown if count)
    )


admin.site.unregister([Group, User])


@admin.register(User)
class OperatorAdmin(Page, UserAdmin):
    """Who may come in. Nobody here can raise himself above what he is: a superuser is made by superusers alone."""

    one, many = "operator", "operators"
    change_form_template = "console/operator.html"
    list_display = ["username", "person", "roles", "state", "last_seen"]
    list_filter = ["is_active"]
    search_fields = ["username", "first_name", "last_name", "email"]
    search_help_text = "Name or e-mail"
    list_select_related = False
    add_form = UserCreationForm
    change_password_form = PasswordForm
    add_form_template = None
    filter_horizontal = ()
    add_fieldsets = [
        (None, {"fields": ["username", "password1", "password2"]}),
        ("May do", {"fields": ["groups"]}),
    ]
    fieldsets = [
        (None, {"fields": ["username"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("May do", {"fields": ["is_active", "groups", "is_superuser"]}),
        ("Seen", {"fields": ["last_login", "date_joined"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        may_raise = request.user.is_superuser
        return ["last_login", "date_joined", *([] if may_raise else ["is_superuser"])]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        kwargs["widget"] = CheckboxSelectMultiple()
        field: Any = super().formfield_for_manytomany(db_field, request, **kwargs)
        field.label, field.help_text = "Roles", ""
        return field

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:
        with transaction.atomic():  # the password and its entry in the log
            return super().user_change_password(request, id, form_url)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.is_staff = True  # whoever is here is an operator
        super().save_model(request, obj, form, change)

    @admin.display(description="name")
    def person(self, user: User) -> Any:
        return two_lines(user.get_full_name(), user.email)

    @admin.display(description="roles")
    def roles(self, user: User) -> Any:
        names = ["superuser"] if user.is_superuser else []
        names += [group.name for group in user.groups.all()]
        return format_html_join(" ", "{}", ((badge(name),) for name in names))

    @admin.display(description="state")
    def state(self, user: User) -> Any:
        return badge("active", "good") if user.is_active else badge("closed", "idle")

    @admin.display(description="last login", ordering="last_login")
    def last_seen(self, user: Any) -> Any:
        return moment(user.last_login, user.seen_at)


def _may_touch(request: HttpRequest, user: Any) -> bool:
    return user is None or not user.is_superuser or bool(request.user.is_superuser)


@admin.register(Group)
class RoleAdmin(Page, GroupAdmin):
    """What operators may do, by role. Only what means something in the console can be given."""

    one, many = "role", "roles"
    list_display = ["name", "operators"]
    search_fields = ["name"]
    filter_horizontal = ()

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(members=Count("user"))

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        groups: dict[str, list[tuple[int, str]]] = {"Look at": [], "Do": [], "Make and change": []}
        for permission, group in self._meaningful():
            name = permission.name.removeprefix("Can ").removeprefix("view ")
            groups[group].append((permission.pk, capfirst(name)))
        known = [pk for choices in groups.values() for pk, _ in choices]
        kwargs["queryset"] = Permission.objects.filter(pk__in=known)
        kwargs["widget"] = CheckboxSelectMultiple()
        field: Any = super().formfield_for_manytomany(db_field, request, **kwargs)
        field.help_text, field.choices = "", list(groups.items())
        return field

    def _meaningful(self) -> Iterable[tuple[Permission, str]]:
        """The permissions that some page of the console asks for, each with the group it is shown in."""
        registered = self.admin_site._registry.items()
        shown_inside = [(one.model, one) for _, page in registered for one in page.inlines]
        pages = {
            (model._meta.app_label, model._meta.model_name): page
            for model, page in [*shown_inside, *registered]
        }
        for permission in Permission.objects.select_related("content_type"):
            kind = permission.content_type
            page = pages.get((kind.app_label, kind.model))
            action = permission.codename.removesuffix(f"_{kind.model}")
            is_plain = action in ("view", "add", "change", "delete")
            if page is not None and (not is_plain or action in getattr(page, "grants", ())):
                changes = "Make and change" if is_plain else "Do"
                yield permission, "Look at" if action == "view" else changes

    @admin.display(description="operators")
    def operators(self, group: Any) -> Any:
        return number(group.members)
