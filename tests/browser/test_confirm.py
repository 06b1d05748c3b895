"""An act, from the list to the log, by mouse, by keyboard alone, and without JavaScript."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Page, expect

from accounts.models import ApiKey
from batches.models import Batch, Status
from console.models import Act
from tests.batches.factories import start
from tests.browser.conftest import Screen, Show
from tests.console.operators import in_role
from tests.factories import AccountFactory, secret_of

LIST = reverse("admin:batches_batch_changelist")
FOCUSED = """() => {
    const one = document.activeElement;
    const style = getComputedStyle(one);
    const name = one.getAttribute("aria-label") || one.name || one.textContent.trim();
    return [name, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0];
}"""


@pytest.fixture
def batches(operator: User) -> list[Batch]:
    account = AccountFactory(name="acme")
    return [start(account, 3) for _ in range(3)]


def tick(screen: Screen, *rows: int) -> None:
    for row in rows:
        screen.page.locator("input.action-select").nth(row).check()


def stops(page: Page, most: int = 100) -> dict[str, bool]:
    """Press Tab once around the page; returns what had the focus, and whether one could see that."""
    found: dict[str, bool] = {}
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            continue  # between the end of the page and its beginning
        name, can_be_seen = page.evaluate(FOCUSED)
        if found and name == next(iter(found)):
            return found
        found[name] = can_be_seen
    raise AssertionError(f"no way around: {list(found)}")


def test_an_operator_cancels_with_a_reason(
    operator: User, batches: list[Batch], show: Show
) -> None:
    screen = show(operator)
    screen.open(LIST)
    button = screen.page.get_by_role("button", name="Cancel…")
    expect(button).to_be_disabled()

    tick(screen, 0, 2)
    expect(screen.page.get_by_text("2 selected")).to_be_visible()
    button.click()
    expect(screen.page.get_by_role("heading", name="Cancel 2 batches?")).to_be_visible()
    screen.page.get_by_label("Reason").fill("ticket 4711")
    screen.page.get_by_role("button", name="Cancel 2 batches").click()

    expect(screen.page.get_by_text("2 batches cancelled.")).to_be_visible()
    assert Batch.objects.filter(status=Status.CANCELLING).count() == 2
    screen.page.get_by_role("link", name="What became of each").click()
    expect(screen.page.get_by_text("ticket 4711")).to_be_visible()
    assert screen.troubles() == []


def test_a_reason_is_asked_for_before_anything_is_sent(
    operator: User, batches: list[Batch], show: Show
) -> None:
    screen = show(operator)
    screen.open(LIST)
    tick(screen, 0)
    screen.page.get_by_role("button", name="Cancel…").click()

    screen.page.get_by_role("button", name="Cancel 1 batch").click()

    expect(screen.page.get_by_label("Reason")).to_be_focused()
    assert Act.objects.count() == 0


def test_two_clicks_are_one_act(operator: User, batches: list[Batch], show: Show) -> None:
    screen = show(operator)
    screen.open(LIST)
    tick(screen, 0)
    screen.page.get_by_role("button", name="Cancel…").click()
    screen.page.get_by_label("Reason").fill("twice")

    screen.page.get_by_role("button", name="Cancel 1 batch").dblclick()

    expect(screen.page.get_by_text("1 batch cancelled.")).to_be_visible()
    assert Act.objects.count() == 1


def test_the_keyboard_reaches_everything_and_one_sees_where_it_is(
    operator: User, batches: list[Batch], show: Show
) -> None:
    screen = show(operator)
    screen.open(LIST)
    tick(screen, 0, 1)
    with screen.leaving():
        screen.page.get_by_role("button", name="Cancel…").click()
    expect(screen.page.get_by_label("Reason")).to_be_focused()

    reached = stops(screen.page)

    links = screen.page.locator(
        "main a, main button, main textarea, header a, header summary, nav a"
    )
    there = {
        one.get_attribute("aria-label") or one.get_attribute("name") or one.inner_text().strip()
        for one in links.all()
        if one.is_visible()
    }
    assert there - set(reached) == set()
    assert {"reason", "Cancel 2 batches", "No, go back"} <= set(reached)
    assert [name for name, can_be_seen in reached.items() if not can_be_seen] == []


def test_the_keyboard_alone_does_it(operator: User, batches: list[Batch], show: Show) -> None:
    screen = show(operator)
    keyboard = screen.page.keyboard
    screen.open(LIST)

    screen.page.get_by_label("Select this object for an action").first.focus()
    keyboard.press("Space")
    screen.page.get_by_role("button", name="Cancel…").focus()
    with screen.leaving():
        keyboard.press("Enter")
    expect(screen.page.get_by_label("Reason")).to_be_focused()
    keyboard.type("by hand")
    keyboard.press("Tab")
    keyboard.press("Enter")

    expect(screen.page.get_by_text("1 batch cancelled.")).to_be_visible()
    assert Act.objects.get().reason == "by hand"


def test_without_scripts_it_works_all_the_same(
    operator: User, batches: list[Batch], show: Show
) -> None:
    screen = show(operator, scripts=False)
    screen.open(f"{LIST}?state=active")
    tick(screen, 0, 1, 2)

    screen.page.get_by_role("button", name="Cancel…").click()
    screen.page.get_by_label("Reason").fill("no scripts")
    screen.page.get_by_role("button", name="Cancel 3 batches").click()

    expect(screen.page.get_by_text("3 batches cancelled.")).to_be_visible()


def test_all_that_match_are_taken_across_pages(
    operator: User, batches: list[Batch], show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = AccountFactory(name="many")
    for _ in range(51):
        start(account, 1)
    screen = show(operator, phone=True)
    screen.open(f"{LIST}?account=many")

    screen.page.get_by_label("Select all objects on this page").check()
    screen.page.get_by_role("button", name="Select all 51 that match").click()
    expect(screen.page.get_by_text("All 51 selected")).to_be_visible()
    with screen.leaving():
        screen.page.get_by_role("button", name="Cancel…").click()

    expect(screen.page.get_by_role("heading", name="Cancel 51 batches?")).to_be_visible()
    expect(screen.page.get_by_text("All that match (account: many).")).to_be_visible()
    assert screen.width_too_much() == 0


def test_a_key_is_revoked_from_its_own_page(operator: User, show: Show) -> None:
    secret_of(AccountFactory())
    key = ApiKey.objects.get()
    screen = show(operator)
    screen.open(reverse("admin:accounts_apikey_change", args=[key.pk]))

    screen.page.get_by_role("link", name="Revoke…").click()
    screen.page.get_by_label("Reason").fill("leaked")
    screen.page.get_by_role("button", name="Revoke 1 API key").click()

    expect(screen.page.get_by_text("1 API key revoked.")).to_be_visible()
    expect(screen.page.get_by_role("link", name="Revoke…")).to_have_count(0)
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_a_viewer_finds_no_button(batches: list[Batch], show: Show) -> None:
    screen = show(in_role("viewer"))
    screen.open(LIST)

    expect(screen.page.locator("table.rows")).to_be_visible()
    expect(screen.page.get_by_role("button", name="Cancel…")).to_have_count(0)
    expect(screen.page.locator("input[type=checkbox]")).to_have_count(0)
    expect(screen.page.get_by_role("link", name="Operator log")).to_have_count(0)
