"""Every page, in both themes, on a desktop and on a phone: nothing is refused, nothing breaks, nothing moves.

SCREENSHOTS=DIRECTORY keeps a picture of each.
"""

import os
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import expect

from console.parts import page_of
from tests.batches.factories import make_upstream
from tests.browser.conftest import DESKTOP, Screen, Show
from tests.console.paths import APPS, common_pages, pages_of, pages_of_batches
from tests.console.world import populate
from tests.support.server import Server
from tests.support.simulator import simulating

ID = re.compile(
    r"(batch_5F|file-)[0-9a-f]{32}|(?<=/)[0-9]+(?=/(change|history|do|delete|password|test))"
)
MOST_SHIFT = 0.02  # a page that does not move at all still rounds


def flaws(screen: Screen, path: str) -> list[Any]:
    """Load a page and look at it."""
    screen.open(path)
    return flaws_in_sight(screen, path)


def flaws_in_sight(screen: Screen, path: str) -> list[Any]:
    """Look at the page that is open, in the light and in the dark."""
    found: list[Any] = []
    for theme in ("light", "dark"):
        screen.page.emulate_media(color_scheme=theme)
        screen.settle()
        found += screen.troubles()
        if too_much := screen.width_too_much():
            found.append(f"{theme}: {too_much} px too wide")
        if (shifted := screen.shifted()) > MOST_SHIFT:
            found.append(f"{theme}: moved by {shifted:.3f}")
        keep_picture(screen, path, theme)
    return found


def keep_picture(screen: Screen, path: str, theme: str) -> None:
    if directory := os.environ.get("SCREENSHOTS"):
        size = screen.page.viewport_size or {}
        name = re.sub(r"\W+", "-", ID.sub("one", path)).strip("-") or "front"
        file = f"{directory}/{name}-{theme}-{size['width']}.jpg"
        is_whole = size == DESKTOP  # on a phone it would be very long
        screen.page.screenshot(path=file, type="jpeg", quality=80, full_page=is_whole)


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
@pytest.mark.parametrize("app", ["", *APPS])
def test_no_page_has_a_flaw(
    app: str, phone: bool, superuser: User, show: Show, server: Server, settings: Any
) -> None:
    settings.STORAGE_DIR = server.storage
    populate()
    screen = show(superuser, phone=phone)

    pages = pages_of(app) if app else common_pages()
    found = {path: seen for path in pages if (seen := flaws(screen, path))}

    assert found == {}


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_no_page_of_a_batch_with_a_past_has_a_flaw(
    phone: bool, superuser: User, show: Show, server: Server, settings: Any
) -> None:
    settings.STORAGE_DIR = server.storage
    populate()
    screen = show(superuser, phone=phone)

    found = {path: seen for path in pages_of_batches() if (seen := flaws(screen, path))}

    assert found == {}


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_a_tried_upstream_has_no_flaw(phone: bool, superuser: User, show: Show) -> None:
    screen = show(superuser, phone=phone)
    with simulating(models=["llama-3.1-8b"]) as url:
        upstream = make_upstream(name="vllm", base_url=url)
        screen.open(page_of(upstream))
        with screen.leaving():
            screen.page.get_by_role("button", name="Test", exact=True).click()
        expect(screen.page.get_by_role("heading", name="A request to")).to_be_visible()

    path = reverse("admin:batches_upstream_test", args=[upstream.pk])
    assert flaws_in_sight(screen, path) == []


def test_the_api_reference_breaks_none_of_its_own_rules(show: Show) -> None:
    screen = show(None)

    screen.open(reverse("docs"))
    screen.page.get_by_text("/api/v1/llm/batches", exact=True).first.click()
    screen.page.get_by_role("button", name="Try it out").click()

    assert screen.troubles() == []


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_a_stranger_sees_the_same_care(phone: bool, show: Show) -> None:
    screen = show(None, phone=phone)

    assert flaws(screen, reverse("admin:login")) == []


def test_the_watch_sees_what_it_watches_for(show: Show, superuser: User) -> None:
    screen = show(superuser)
    screen.open(reverse("admin:index"))

    screen.page.evaluate(
        """() => {
            const style = document.createElement("style");
            style.textContent = "body { width: 3000px }";
            document.head.append(style);
            const script = document.createElement("script");
            script.textContent = "alert(1)";
            document.head.append(script);
            document.querySelector("h1").setAttribute("style", "width: 3000px");
        }"""
    )

    screen.settle()
    told = " ".join(screen.troubles())
    assert "style-src" in told
    assert "script-src" in told
    assert "dialog" not in told
    assert screen.width_too_much() == 0
