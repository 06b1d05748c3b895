"""The console as a site: its navigation, its overview, and a login that cannot be guessed at."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.text import capfirst

from console import logins
from console.address import caller_address, origin
from console.models import Act
from console.parts import EMPTY
from console.text import MINUTE, duration

LOCKED = "locked"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A place in the navigation: the page of a model (as app.model), its name and drawing, and what it is for."""

    model: str
    name: str
    icon: str
    about: str


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """An entry as one operator sees it on one page."""

    name: str
    icon: str
    about: str
    url: str
    is_current: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A part of the overview: a template, and what it shows; with a title it is a card. `width`: in twelfths of the row."""

    template: str
    context: dict[str, Any]
    title: str = ""
    width: int = 12


class LoginForm(AdminAuthenticationForm):
    """Lets a name or an address that failed too often wait, and whoever waits is not even asked for the password."""

    def clean(self) -> dict[str, Any]:
        username, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if username is None or not password:
            return super().clean()
        assert self.request is not None
        where = origin(caller_address(self.request))
        if wait := logins.begin(username, where):
            rounded = wait if wait < MINUTE else math.ceil(wait / MINUTE) * MINUTE
            text = f"Too many logins have failed. Try again in {duration(rounded)}."
            raise forms.ValidationError(text, code=LOCKED)
        cleaned = super().clean()
        logins.succeeded(username, where)
        return cleaned


class Site(admin.AdminSite):
    """The operators' console. What it consists of is handed in from above, for it knows no other app.

    sections: the navigation; what is in none of them is listed last, under "More".
    panels: each is asked, in turn, for a part of the overview; None leaves it out.
    ring: called when an act could not be carried out within its request.
    """

    site_header = site_title = "Longshore"
    index_title = "Overview"
    login_form = LoginForm
    empty_value_display = EMPTY

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self.sections: Sequence[Sequence[Entry]] = ()
        self.panels: Sequence[Callable[[HttpRequest], Panel | None]] = ()
        self.ring: Callable[[Act], None] = _nobody
        self.disable_action("delete_selected")

    # The navigation

    def name_of(self, model: Any) -> str:
        """What the navigation calls the page of a model."""
        names = {entry.model: entry.name for section in self.sections for entry in section}
        other = str(capfirst(model._meta.verbose_name_plural))
        return names.get(str(model._meta.label_lower), other)

    def each_context(self, request: Any) -> dict[str, Any]:
        context = super().each_context(request)
        # A page that asks for itself anew, to redraw, must not eat the messages of the page somebody is about to see.
        context["is_redraw"] = request.headers.get("X-Requested-With") == "redraw"
        context["home"] = reverse("admin:index", current_app=self.name)
        context["sections"], context["more"] = self._navigation(request, context["available_apps"])
        return context

    def _navigation(self, request: HttpRequest, apps: Any) -> tuple[list[list[Item]], list[Item]]:
        """Return the sections, and the rest, with only what this operator may look at."""
        urls = {
            page["model"]._meta.label_lower: page["admin_url"]
            for app in apps
            for page in app["models"]
            if page["admin_url"]
        }
        placed = [
            [
                _item(request, entry, urls.pop(entry.model))
                for entry in section
                if entry.model in urls
            ]
            for section in self.sections
        ]
        pages = {page["model"]._meta.label_lower: page for app in apps for page in app["models"]}
        rest = [
            _item(request, Entry(label, pages[label]["name"], "rows", ""), url)
            for label, url in urls.items()
        ]
        return [section for section in placed if section], rest

    # Pages

    def index(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """The overview: what the panels show; without any, where one can go."""
        panels = [panel for make in self.panels if (panel := make(request)) is not None]
        return super().index(request, {"panels": panels} | (extra_context or {}))

    def app_index(self, request: HttpRequest, app_label: str, extra_context: Any = None) -> Any:
        """The pages of an app have no meaning to an operator; the navigation lists them all."""
        return HttpResponseRedirect(reverse("admin:index", current_app=self.name))

    def login(self, request: Any, extra_context: Any = None) -> HttpResponse:
        response = super().login(request, extra_context)
        form = (getattr(response, "context_data", None) or {}).get("form")
        if form is not None and form.is_bound and form.has_error("__all__", LOCKED):
            response.status_code = 429
        return response


def _item(request: HttpRequest, entry: Entry, url: str) -> Item:
    return Item(entry.name, entry.icon, entry.about, url, request.path.startswith(url))


def _nobody(act: Act) -> None:
    """Without a bell the sweep finds what is left of an act."""
