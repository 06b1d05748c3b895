"""The overview, upstreams, workers, owners and keys in a real browser."""

import re

from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Request, expect

from accounts.models import Account, ApiKey
from batches.models import Batch, Upstream
from console.models import Act
from console.parts import page_of
from tests.batches.factories import make_upstream, start
from tests.browser.conftest import Screen, Show
from tests.console.operators import list_of
from tests.console.world import populate
from tests.support.simulator import simulating

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
    screen.page.add_init_script(f"({HIDE})()")
    asked: list[Request] = []
    screen.page.on("request", lambda one: asked.append(one))

    screen.open(INDEX)
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


def act(screen: Screen, button: str, reason: str, answer: str) -> None:
    """Press a button of a row's page, say why, and confirm."""
    with screen.leaving():
        screen.page.get_by_role("link", name=button).click()
    screen.page.get_by_label("Reason").fill(reason)
    with screen.leaving():
        screen.page.get_by_role("button", name=answer).click()


def test_a_key_is_made_shown_once_and_revoked(show: Show, superuser: User) -> None:
    Account.objects.create(name="acme")
    screen = show(superuser)
    screen.open(list_of(ApiKey))
    with screen.leaving():
        screen.page.get_by_role("link", name="Add API key").click()
    screen.page.get_by_label("Account").select_option("acme")
    screen.page.get_by_label("Name").fill("first")
    screen.page.get_by_role("button", name="Save").click()
    expect(screen.page.locator(".secret code").first).to_contain_text("lsk_")
    screen.page.reload()
    expect(screen.page.get_by_text("The secret was shown once")).to_be_visible()

    screen.page.get_by_role("link", name="Go to the key").click()
    act(screen, "Revoke…", "leaked", "Revoke 1 API key")

    expect(screen.page.get_by_text("1 API key revoked")).to_be_visible()
    key = ApiKey.objects.get()
    assert key.revoked_at is not None
    assert Act.objects.get(verb="revoke API keys").reason == "leaked"
    assert screen.troubles() == []


def test_an_upstream_is_paused_and_resumed_with_a_reason(show: Show, operator: User) -> None:
    upstream = make_upstream(name="vllm")
    screen = show(operator)
    screen.open(page_of(upstream))

    act(screen, "Pause…", "new GPUs", "Pause 1 upstream")
    expect(screen.page.locator("#upstream .badge.warn")).to_have_text("paused")
    expect(screen.page.locator("#upstream")).to_contain_text("new GPUs")
    act(screen, "Resume…", "they are there", "Resume 1 upstream")
    expect(screen.page.locator("#upstream .badge.good")).to_have_text("open")

    Upstream.note_down(upstream.pk, "HTTP 502")  # and the page sees it by itself
    expect(screen.page.locator("#upstream .badge.bad")).to_have_text("down")
    assert screen.troubles() == []


def test_an_upstream_is_tested_with_a_real_call(show: Show, operator: User) -> None:
    with simulating(models=["tiny"]) as url:
        screen = show(operator)
        screen.open(page_of(make_upstream(name="vllm", base_url=url)))
        with screen.leaving():
            screen.page.get_by_role("button", name="Test", exact=True).click()
        expect(screen.page.get_by_role("heading", name="A request to tiny")).to_be_visible()

    expect(screen.page.locator(".badge.good")).to_have_count(2)
    assert "simulated" in screen.text
    assert screen.troubles() == []


def test_all_batches_of_an_account_are_cancelled(show: Show, operator: User) -> None:
    account = Account.objects.create(name="acme")
    for _ in range(2):
        start(account, 3)
    screen = show(operator, phone=True)
    screen.open(page_of(account))

    act(screen, "Cancel all batches…", "spam", "Cancel all active batches of 1 account")

    expect(screen.page.get_by_role("status")).to_contain_text("1 account cleared of active batches")
    assert set(Batch.objects.values_list("status", flat=True)) == {"cancelling"}
    assert screen.width_too_much() == 0
    assert screen.troubles() == []
