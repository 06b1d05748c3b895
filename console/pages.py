"""Base classes of every page of rows: fast however many there are, and each act confirmed, allowed and logged."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin import helpers
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core import paginator
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from api.clock import database_now
from console import chosen, live
from console.acts import Verb
from console.confirm import confirm
from console.live import Change
from console.models import ActObject
from console.parts import page_of
from console.reasons import Reasoned, reason_in
from console.text import visible

MOST_COUNTED = 10_000
FAR = 1000  # rows before a page, from where on it is found by its keys
MOST_LOGGED = 200  # acts that the log of one row shows
TITLE_CHARS = 120
SEARCH_CHARS = 200


class CappedPaginator(paginator.Paginator):
    """Counts and pages up to 10,000 rows; of more it only says that there are more."""

    @cached_property
    def count(self) -> int:
        return min(self._counted, MOST_COUNTED)

    @property
    def is_capped(self) -> bool:
        return self._counted > MOST_COUNTED

    def page(self, number: Any) -> Any:
        """A page far in is found by its keys first, which an index has: no row before it is looked at."""
        first = (self.validate_number(number) - 1) * self.per_page
        if first < FAR:
            return super().page(number)
        rows: Any = self.object_list
        keys = rows.select_related(None).values_list("pk", flat=True)
        found = list(keys[first : min(first + self.per_page, self.count)])
        return paginator.Page(rows.filter(pk__in=found), int(number), self)

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by().values("pk")[: MOST_COUNTED + 1].count())


def begins_with(field: str, text: str) -> Q:
    """Rows whose field begins with a text, found by the field's own index on both databases."""
    if connection.vendor == "sqlite":  # its LIKE cannot use one
        return Q(**{f"{field}__gte": text, f"{field}__lt": text + "\U0010ffff"})
    return Q(**{f"{field}__startswith": text})


class Tabs(admin.SimpleListFilter):
    """A filter shown as tabs above the list. A subclass says `title`, `parameter_name`, `lookups` and `queryset`."""

    is_tabs = True
    template = "admin/tabs.html"

    def counts(self) -> dict[str, int]:
        """How many rows are behind a tab, for those where that is quickly told."""
        return {}

    def choices(self, changelist: Any) -> Iterator[Any]:
        counts = self.counts()
        values = [None, *(value for value, _ in self.lookup_choices)]
        for value, choice in zip(values, super().choices(changelist), strict=True):
            yield choice | {"count": counts.get(str(value or ""))}


class Typed(admin.SimpleListFilter):
    """A filter whose value is typed in, for what is too much to list. A subclass says `queryset`."""

    template = "admin/typed_filter.html"
    hint = ""  # what to type
    cut = ""  # what it leaves out of what is meant, in words

    def __init__(self, request: HttpRequest, params: Any, model: Any, page: Any) -> None:
        super().__init__(request, params, model, page)
        kept = request.GET.copy()
        for name in (self.parameter_name or "", "p", "e"):
            kept.pop(name, None)
        self.others = [(name, value) for name in kept for value in kept.getlist(name)]

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        return [("", "")]

    @property
    def text(self) -> str:
        return (self.value() or "").strip()[:SEARCH_CHARS]

    def finish(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Choose among what all filters have left; of a list that is not searched."""
        return rows


class Rows(ChangeList):
    """A list whose rows are told what its page knows of all of them at once.

    cut: what filters and search have left out of what was meant, in words, as `console.finding` tells it.
    unseen: what narrows the list and no tab and no filter shows.
    """

    model_admin: Any
    cut = ""
    unseen: Sequence[str] = ()

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        rows: Any = super().get_queryset(request, exclude_parameters)
        for spec in self.filter_specs:
            if isinstance(spec, Typed) and not self.query:
                rows = spec.finish(rows)
        cuts = [getattr(one, "cut", "") for one in (rows, *self.filter_specs)]
        self.cut = "; ".join(filter(None, cuts))
        self.unseen = chosen.unseen(request, self)
        return rows  # type: ignore[no-any-return]

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        self.model_admin.prepare(self.result_list)


class Page(Reasoned):
    """A page of rows that some operators may change. `verbs` become actions of the list and buttons of a row."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_max_show_all = 0
    list_per_page = 50
    paginator = CappedPaginator
    verbs: Sequence[Verb] = ()
    records: Sequence[str] = ()  # what else of this page the operator log tells: "download files"
    grants: tuple[str, ...] = ("view", "add", "change", "delete")  # what a role can be given here
    begun: Sequence[str] = ()  # typed filters of whose values the search takes the beginning, too
    admin_site: Any

    @property
    def one(self) -> str:
        """What a row is called."""
        return str(self.opts.verbose_name)

    @property
    def many(self) -> str:
        return str(self.opts.verbose_name_plural)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Rows

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            self.prepare([row])
        return row

    def prepare(self, rows: Sequence[Any]) -> None:
        """Tell rows that are to be shown when they were read (`seen_at`), by the database's clock; a few questions for all."""
        now = database_now()
        for row in rows:
            row.seen_at = now

    # Which verbs

    def verbs_for(self, request: HttpRequest, row: Any = None) -> list[Verb]:
        """The verbs that the operator may use; with a row, those that apply to it."""
        allowed = [verb for verb in self.verbs if request.user.has_perm(verb.permission)]
        return [verb for verb in allowed if row is None or verb.applies(row)]

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        for verb in self.verbs_for(request):
            if not verb.is_for_one:
                actions[verb.slug] = (_asking(verb), verb.slug, verb.button)
        return actions

    def ask(self, request: HttpRequest, verb: Verb, matching: QuerySet[Any]) -> HttpResponse | None:
        """The confirm page for the rows that are ticked, or for all that match the filter of the list."""
        if request.POST.get("select_across") == "1":
            rows, told = matching, self.filter_told(request)
        else:
            # By their ids alone: one that meanwhile left the filter is still what was ticked.
            ticked = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)
            rows, told = self.get_queryset(request).filter(pk__in=ticked), ""
        repeated = [("action", verb.slug), ("index", "0")]
        for name in ("select_across", helpers.ACTION_CHECKBOX_NAME):
            repeated += [(name, value) for value in request.POST.getlist(name)]
        return confirm(
            request,
            self.admin_site,
            verb,
            rows,
            back=request.get_full_path(),
            told=told,
            repeated=repeated,
        )

    def ask_about(self, request: HttpRequest, object_id: str, slug: str) -> HttpResponse:
        """The confirm page for one row, behind a button of its page."""
        verb = next((verb for verb in self.verbs if verb.slug == slug), None)
        row = self.get_object(request, unquote(object_id))
        if verb is None or row is None:
            raise Http404
        if not self.has_view_or_change_permission(request, row):
            raise PermissionDenied
        rows = self.get_queryset(request).filter(pk=row.pk)
        return confirm(
            request, self.admin_site, verb, rows, back=page_of(row), row=row, suggested=request.GET
        )

    def filter_told(self, request: HttpRequest) -> str:
        """How a list is filtered, in words."""
        return chosen.told(request, self.get_changelist_instance(request))

    # Moving by itself

    def changes_of(self, row: Any) -> dict[str, Change]:
        """What of a row in the list may have changed, by the key its parts follow. A page that is live overrides it."""
        return {}

    @property
    def live_url(self) -> str:
        """Where the list asks for changes; empty when it stands still."""
        if type(self).changes_of is Page.changes_of:
            return ""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_live")

    def live_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        wanted = request.GET.getlist("row")[: self.list_per_page]
        rows = list(self.get_queryset(request).filter(pk__in=wanted))
        self.prepare(rows)
        return live.answer((str(row.pk), self.changes_of(row)) for row in rows)

    # Finding rows

    def find(self, rows: QuerySet[Any], text: str) -> QuerySet[Any] | None:
        """The rows that a search means; None to search `search_fields` as Django does, which suits small tables."""
        return None

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        text = search_term.strip()[:SEARCH_CHARS]
        if not text:
            return queryset, False
        found = self.find(queryset, text)
        if found is None:
            return super().get_search_results(request, queryset, text)
        return found, False

    # Pages

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        ask, live_view = map(self.admin_site.admin_view, (self.ask_about, self.live_view))
        return [
            path("<path:object_id>/do/<slug:slug>/", ask, name=f"{name}_do"),
            path("live/", live_view, name=f"{name}_live"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        title = self.admin_site.name_of(self.model)
        verbs = [verb for verb in self.verbs_for(request) if not verb.is_for_one]
        context = {"title": title, "verbs": verbs, "one": self.one}
        return super().changelist_view(request, context | (extra_context or {}))

    def shown_of(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the template of a row's own page shows beside its fields."""
        return {}

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> Any:
        context["verbs"] = self.verbs_for(request, obj) if obj else []
        context["name"] = self.admin_site.name_of(self.model)
        is_acted_on = bool(self.verbs or self.records) or self.grants != ("view",)
        context["may_see_log"] = is_acted_on and request.user.has_perm("console.view_act")
        context["title"] = visible(obj, TITLE_CHARS) if obj else f"Add {self.one}"
        context["subtitle"] = None
        context["takes_reason"] = True
        context["reason"] = reason_in(request.POST)
        context |= self.shown_of(request, obj) if obj else {}
        return super().render_change_form(request, context, add, change, form_url, obj)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        context = {"name": self.admin_site.name_of(self.model)}
        return super().delete_view(request, object_id, context | (extra_context or {}))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """The operator log of one row."""
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        if not request.user.has_perm("console.view_act"):
            raise PermissionDenied
        context = self.admin_site.each_context(request)
        title = f"Operator log of {visible(row, TITLE_CHARS)}"
        context |= {"title": title, "opts": self.opts, "original": row}
        context |= {"name": self.admin_site.name_of(self.model), "back": page_of(row)}
        context["affected"] = ActObject.objects.of(row)[:MOST_LOGGED]
        return TemplateResponse(request, "console/history.html", context)


class ReadOnly:
    """Permissions of a page whose rows are written by the service alone."""

    grants: tuple[str, ...] = ("view",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class Look(ReadOnly, Page):
    """A page of rows to look at, and to act on through verbs alone. Sorted only by what has an index."""

    sortable_by: ClassVar[list[str] | tuple[str, ...] | None] = ()


def _asking(verb: Verb) -> Callable[..., Any]:
    def ask(page: Page, request: HttpRequest, rows: QuerySet[Any]) -> Any:
        return page.ask(request, verb, rows)

    return ask
