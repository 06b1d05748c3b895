"""Everybody finds what he may look at, in one order, and nothing else."""

import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from console.site import Panel, Site
from tests.console.operators import in_role, logged_in, with_permissions

pytestmark = pytest.mark.django_db
INDEX = reverse("admin:index")
PLACE = re.compile(r'<svg class="icon"[^>]*>.*?</svg>([^<]+)</a>')


@pytest.fixture
def site() -> Iterator[Site]:
    site = cast(Site, admin.site)
    panels = site.panels
    yield site
    site.panels = panels


def places(client: Client) -> list[str]:
    page = client.get(INDEX).content.decode()
    return PLACE.findall(page[page.index('<nav class="places"') : page.index("</nav>")])


def test_the_navigation_has_its_order(admin_client: Client) -> None:
    assert places(admin_client) == [
        "Overview",
        "Batches",
        "Files",
        "Accounts",
        "External users",
        "API keys",
        "Upstreams",
        "Workers",
        "Operator log",
        "Operators",
        "Roles",
    ]


@pytest.mark.parametrize(
    ("role", "last"),
    [
        ("viewer", "Workers"),
        ("operator", "Operator log"),
        ("auditor", "Operator log"),
        ("admin", "Roles"),
    ],
)
def test_nobody_sees_what_he_may_not_look_at(role: str, last: str) -> None:
    assert places(logged_in(in_role(role)))[-1] == last


def test_who_may_see_one_thing_sees_one_place() -> None:
    assert places(with_permissions("files.view_file")) == ["Overview", "Files"]


def test_who_may_see_nothing_is_told_so() -> None:
    assert "You may not look at anything yet" in with_permissions().get(INDEX).content.decode()


def test_rows_of_the_machine_are_under_more(admin_client: Client) -> None:
    page = admin_client.get(INDEX).content.decode()

    more = page[page.index('<details class="more"') :]
    for name in ("Shards", "Segments", "Engines", "Transitions", "Blobs"):
        assert f">{name}</a>" in more


def test_the_place_one_is_at_is_marked(admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:files_file_changelist")).content.decode()

    (current,) = re.findall(r'<li><a href="([^"]+)" aria-current="page">', page)
    assert current == reverse("admin:files_file_changelist")


def test_without_panels_the_index_shows_where_one_can_go(admin_client: Client, site: Site) -> None:
    site.panels = ()

    page = admin_client.get(INDEX).content.decode()

    assert "What runs, what has ended, and how." in page


def test_the_index_shows_the_panels_it_is_handed(admin_client: Client, site: Site) -> None:
    def shown(request: Any) -> Panel:
        context = {"chart": {"ticks": ["42 lines"]}}
        return Panel(template="console/bars.html", context=context["chart"], title="Lines")

    site.panels = (shown, lambda request: None)

    page = admin_client.get(INDEX)

    assert [panel.title for panel in page.context["panels"]] == ["Lines"]
    assert ">Lines</h2>" in page.content.decode()
    assert "What runs, what has ended" not in page.content.decode()


def test_the_page_of_an_app_is_the_overview(admin_client: Client) -> None:
    response = admin_client.get(reverse("admin:app_list", args=["batches"]))

    assert (response.status_code, response["Location"]) == (302, INDEX)


def test_a_page_of_an_error_looks_like_the_others(admin_client: Client) -> None:
    response = admin_client.get(f"{INDEX}nowhere/")

    assert response.status_code == 404
    assert "There is nothing here." in response.content.decode()
    assert "console/tokens.css" in response.content.decode()


def test_a_stranger_is_sent_to_the_login(client: Client) -> None:
    response = client.get(reverse("admin:batches_batch_changelist"))

    assert response.status_code == 302
    assert response["Location"].startswith(reverse("admin:login"))


def test_who_is_no_operator_stays_outside(client: Client) -> None:
    client.force_login(User.objects.create_user("nobody"))

    assert client.get(INDEX).status_code == 302
