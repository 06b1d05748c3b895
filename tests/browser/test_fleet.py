"""The overview, upstreams, workers, owners and keys in a real browser."""

import re

from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Request, expect

from accounts.models import Account
from batches.models import Batch
from tests.batches.factories import start
from tests.browser.conftest import Show
from tests.console.world import populate

INDEX = reverse("admin:index")
HIDE = """() => {
    Object.defineProperty(document, "hidden", { get: () => window.away, configurable: true });
    window.away = true;
}"""


def is_redraw(request: Request) -> bool:
    return request.headers.get("x-requested-with") == "redraw"


def test_the_overview_moves_by_itself_and_keeps_the_focus(show: Show, superuser: User) -> None:
    populate()
    Batch.objects.filter(status="validating").delete()
    screen = show(superuser)
    screen.open(INDEX)
    active = screen.page.locator(".figure").first.locator("strong a")
    before = int(active.inner_text())
    active.focus()

    batch = start(Account.objects.get(name="acme-prod"), 7)

    expect(active).to_have_text(str(before + 1))
    expect(active).to_be_focused()
    row = screen.page.get_by_role("row").filter(has=screen.page.get_by_title(batch.pk))
    expect(row).to_contain_text("of 7")
    Batch.objects.filter(pk=batch.pk).update(completed=3)
    expect(row).to_contain_text("42 %")
    assert screen.troubles() == []


def test_the_overview_is_still_while_nobody_looks(show: Show, superuser: User) -> None:
    start(Account.objects.create(name="acme"), 7)
    screen = show(superuser)
    screen.page.clock.install()
    screen.open(INDEX)
    asked: list[Request] = []
    screen.page.on("request", lambda one: asked.append(one))

    screen.page.evaluate(HIDE)
    screen.page.clock.run_for(60_000)
    assert not any(map(is_redraw, asked))

    with screen.page.expect_request(is_redraw):
        screen.page.evaluate(
            "window.away = false; document.dispatchEvent(new Event('visibilitychange'))"
        )


def test_a_number_of_the_overview_leads_to_its_rows(show: Show, superuser: User) -> None:
    populate()
    screen = show(superuser)
    screen.open(INDEX)

    screen.page.locator(".figure", has_text="active batches").locator("strong a").click()
    expect(screen.page).to_have_url(re.compile("state=active"))
    expect(screen.page.locator("#result_list tbody tr")).not_to_have_count(0)
    screen.page.go_back()
    screen.page.locator(".plot a").last.click()
    expect(screen.page.get_by_role("heading", name=re.compile("hours"))).to_be_visible()
    expect(screen.page.locator("#result_list tbody tr")).to_have_count(1)
    assert screen.troubles() == []
