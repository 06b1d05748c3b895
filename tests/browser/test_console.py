"""What makes the console pleasant: logging in, themes, menus, filters, copying, what is shown once, what moves by itself."""

import json
import re

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Route, expect

from accounts.models import ApiKey
from batches.models import Batch
from tests.batches.factories import start
from tests.browser.conftest import Show
from tests.factories import AccountFactory, secret_of

INDEX = reverse("admin:index")
BATCHES = reverse("admin:batches_batch_changelist")
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(244, 246, 248)", "rgb(14, 18, 22)"
NO_TIMERS = "window.setTimeout = () => 0"  # what is said for a moment stays


def test_an_operator_logs_in_and_out(show: Show, superuser: User) -> None:
    superuser.set_password("correct horse battery")
    superuser.save()
    screen = show(None)
    screen.open(BATCHES)

    screen.page.get_by_label("Name").fill("root")
    screen.page.get_by_label("Password").fill("wrong")
    screen.page.get_by_role("button", name="Log in").click()
    expect(screen.page.get_by_role("alert")).to_be_visible()
    screen.page.get_by_label("Password").fill("correct horse battery")
    screen.page.get_by_role("button", name="Log in").click()

    expect(screen.page.get_by_role("heading", name="Batches")).to_be_visible()
    screen.page.locator(".menu.user summary").click()
    screen.page.get_by_role("button", name="Log out").click()
    expect(screen.page.get_by_role("heading", name="Logged out")).to_be_visible()
    assert screen.troubles() == []


@pytest.mark.parametrize(("dark", "colour"), [(False, LIGHT), (True, DARK)])
def test_the_theme_is_the_systems_until_somebody_chooses(
    dark: bool, colour: str, show: Show, superuser: User
) -> None:
    screen = show(superuser, dark=dark)
    screen.open(INDEX)
    assert screen.page.evaluate(BACKGROUND) == colour

    screen.page.locator(".theme-toggle").click()
    assert screen.page.evaluate(BACKGROUND) == (LIGHT if dark else DARK)

    screen.open(BATCHES)
    assert screen.page.evaluate(BACKGROUND) == (LIGHT if dark else DARK)


def test_without_scripts_the_theme_is_the_systems(show: Show, superuser: User) -> None:
    screen = show(superuser, dark=True, scripts=False)
    screen.open(INDEX)

    expect(screen.page.locator("body")).to_have_css("background-color", DARK)


def test_the_places_open_on_a_phone_and_close_with_escape(show: Show, superuser: User) -> None:
    screen = show(superuser, phone=True)
    screen.open(BATCHES)
    files = screen.page.get_by_role("link", name="Files", exact=True)
    expect(files).to_be_hidden()

    screen.page.get_by_role("button", name="Navigation").click()
    expect(files).to_be_visible()
    screen.page.keyboard.press("Escape")
    expect(files).to_be_hidden()

    screen.page.get_by_role("button", name="Navigation").click()
    files.click()
    expect(screen.page.get_by_role("heading", name="Files")).to_be_visible()


def test_a_list_can_be_sorted_on_a_phone(show: Show, superuser: User) -> None:
    older, newer = (start(AccountFactory(), 1) for _ in range(2))
    screen = show(superuser, phone=True)
    screen.open(BATCHES)
    ids = screen.page.locator("tbody .id").evaluate_all("all => all.map((one) => one.title)")
    assert ids == [newer.pk, older.pk]

    with screen.leaving():
        screen.page.get_by_role("link", name="Created").click()

    expect(screen.page.locator("th[aria-sort=ascending]")).to_be_visible()
    ids = screen.page.locator("tbody .id").evaluate_all("all => all.map((one) => one.title)")
    assert ids == [older.pk, newer.pk]
    assert not screen.width_too_much()


def test_a_filter_opens_is_typed_into_and_closes(show: Show, superuser: User) -> None:
    acme, other = AccountFactory(name="acme"), AccountFactory(name="globex")
    mine, theirs = start(acme, 1), start(other, 1)
    screen = show(superuser)
    screen.open(f"{BATCHES}?state=active")
    summary = screen.page.locator("summary", has_text="Account")

    summary.focus()
    screen.page.keyboard.press("Enter")
    field = screen.page.get_by_label("Name of the account")
    expect(field).to_be_focused()
    screen.page.keyboard.press("Escape")
    expect(field).to_be_hidden()
    summary.click()
    expect(field).to_be_focused()
    screen.page.keyboard.type("acme")
    screen.page.keyboard.press("Enter")

    expect(screen.page.get_by_title(mine.pk)).to_be_visible()
    expect(screen.page.get_by_title(theirs.pk)).to_have_count(0)
    expect(screen.page.locator("summary", has_text="Account: acme")).to_be_visible()
    assert "state=active" in screen.page.url
    screen.page.get_by_role("link", name="Clear").click()
    expect(screen.page.get_by_title(theirs.pk)).to_be_visible()


def test_one_drop_down_is_open_at_a_time(show: Show, superuser: User) -> None:
    screen = show(superuser)
    screen.open(BATCHES)
    first, second = (screen.page.locator("details.filter").nth(n) for n in (0, 1))

    first.locator("summary").click()
    second.locator("summary").click()

    expect(first).not_to_have_attribute("open", "")
    expect(second).to_have_attribute("open", "")
    screen.page.locator("h1").click()
    expect(second).not_to_have_attribute("open", "")


def test_a_slash_goes_to_the_search(show: Show, superuser: User) -> None:
    screen = show(superuser)
    screen.open(BATCHES)

    screen.page.keyboard.press("/")
    screen.page.keyboard.type("batch_/")

    expect(screen.page.locator("#searchbar")).to_have_value("batch_/")


def test_a_whole_id_is_copied_from_its_beginning(show: Show, superuser: User) -> None:
    batch = start(AccountFactory(), 1)
    screen = show(superuser)
    screen.open(BATCHES)
    screen.page.evaluate(NO_TIMERS)

    screen.page.get_by_role("button", name=f"Copy {batch.pk}").click()

    expect(screen.page.locator("button.copy.done")).to_be_visible()
    assert screen.page.evaluate("navigator.clipboard.readText()") == batch.pk


def test_a_range_is_ticked_with_shift(show: Show, superuser: User) -> None:
    account = AccountFactory()
    for _ in range(5):
        start(account, 1)
    screen = show(superuser)
    screen.open(BATCHES)
    boxes = screen.page.locator("input.action-select")

    boxes.nth(1).click()
    boxes.nth(3).click(modifiers=["Shift"])

    expect(screen.page.get_by_text("3 selected")).to_be_visible()
    screen.page.locator("#action-toggle").check()
    expect(screen.page.get_by_text("5 selected")).to_be_visible()


def test_the_secret_of_a_new_key_is_shown_once(show: Show, superuser: User) -> None:
    AccountFactory(name="acme")
    screen = show(superuser)
    screen.open(reverse("admin:accounts_apikey_add"))

    screen.page.get_by_label("Account").select_option(label="acme")
    screen.page.get_by_label("Name").fill("production")
    with screen.leaving():
        screen.page.get_by_role("button", name="Save").click()
    screen.page.evaluate(NO_TIMERS)
    secret = screen.page.locator(".secret code").first.inner_text()
    screen.page.get_by_role("button", name="Copy the secret").click()
    expect(screen.page.locator("button.copy.done")).to_be_visible()
    copied = screen.page.evaluate("navigator.clipboard.readText()")
    screen.page.reload()

    assert ApiKey.objects.find(secret) == ApiKey.objects.get()
    assert copied == secret
    assert secret not in screen.page.content()
    expect(screen.page.get_by_text("The secret was shown once")).to_be_visible()
    screen.page.go_back()
    assert secret not in screen.page.content()
    assert screen.troubles() == []


def test_progress_moves_without_loading_the_page_again(show: Show, superuser: User) -> None:
    batch = start(AccountFactory(), 10)
    screen = show(superuser)
    screen.open(BATCHES)
    expect(screen.page.get_by_text("queued")).to_be_visible()
    screen.page.evaluate("window.same = true")

    Batch.objects.filter(pk=batch.pk).update(completed=4, failed=1)

    expect(screen.page.get_by_text("of 10 · 50 %")).to_be_visible()
    expect(screen.page.get_by_text("in progress", exact=True)).to_be_visible()
    expect(screen.page.locator("rect.done")).to_have_attribute("width", "400")
    expect(screen.page.locator("rect.failed")).to_have_attribute("x", "400")
    assert screen.page.evaluate("window.same")
    assert screen.troubles() == []


# Scripts that pages of other apps use


def serve(route: Route, body: str) -> None:
    route.fulfill(status=200, content_type="text/html", body=f"<!doctype html>{body}")


def test_a_live_page_follows_what_is_in_sight_and_stands_still_while_hidden(
    show: Show, superuser: User
) -> None:
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        changes = {
            "a.state": {"text": "<b>completed</b>", "attributes": {"class": "badge good"}},
            "a.bar": {
                "attributes": {"width": "541.2", "onclick": "alert(1)", "style": "color: red"}
            },
            "unknown": {"text": "x"},
        }
        route.fulfill(content_type="application/json", body=json.dumps(changes))

    screen = show(superuser)
    screen.page.clock.install()
    screen.page.route("**/live-page/", lambda route: serve(route, LIVE))
    screen.page.route("**/changes/**", answer)
    screen.page.goto(f"{screen.address}/live-page/")
    screen.settle()
    screen.page.clock.run_for(3100)

    expect(screen.page.locator("#state")).to_have_text("<b>completed</b>")
    expect(screen.page.locator("#state")).to_have_class("badge good")
    bar = screen.page.locator("#bar")
    expect(bar).to_have_attribute("width", "541.2")
    assert bar.get_attribute("onclick") is None
    assert bar.get_attribute("style") is None
    assert re.findall(r"row=(\w+)", asked[0]) == ["a"]  # b is far below

    screen.page.evaluate("Object.defineProperty(document, 'hidden', {value: true})")
    screen.page.clock.run_for(3100)  # and what was being asked for is heard of
    before = len(asked)
    screen.page.clock.run_for(30_000)
    assert len(asked) == before
    assert screen.troubles() == []


LIVE = """<script type="module" src="/static/console/live.js"></script>
<div data-live-url="/changes/">
<span id="state" data-live="a.state">queued</span>
<svg height="9"><rect id="bar" data-live="a.bar" width="0" height="9"/></svg>
<p><br></p><div id="far"></div></div>
<script>
document.getElementById("far").style.height = "9000px";
const b = document.createElement("span");
b.dataset.live = "b.state";
document.querySelector("[data-live-url]").append(b);
</script>"""


def test_a_dialog_shows_what_a_link_leads_to_and_gives_the_focus_back(
    show: Show, superuser: User
) -> None:
    screen = show(superuser)
    screen.page.route("**/dialog-page/", lambda route: serve(route, DIALOG))
    screen.page.route("**/piece/", lambda route: serve(route, PIECE))
    screen.page.goto(f"{screen.address}/dialog-page/")

    screen.page.get_by_role("link", name="Line 1").click()
    expect(screen.page.get_by_role("dialog")).to_contain_text("the answer")
    screen.page.keyboard.press("Escape")
    expect(screen.page.get_by_role("dialog")).to_have_count(0)
    expect(screen.page.get_by_role("link", name="Line 1")).to_be_focused()

    screen.page.keyboard.press("Enter")
    screen.page.get_by_role("button", name="Close").click()
    expect(screen.page.get_by_role("dialog")).to_have_count(0)


DIALOG = """<script type="module" src="/static/console/dialog.js"></script>
<a href="/piece/" data-dialog>Line 1</a>"""
PIECE = """<header><h2>Line 1</h2><button data-close>Close</button></header>
<div class="inside"><pre class="block">the answer</pre></div>"""


def test_a_session_that_ended_leads_to_the_login(show: Show, superuser: User) -> None:
    secret_of(AccountFactory())
    screen = show(superuser)
    screen.open(BATCHES)
    screen.page.context.clear_cookies()

    screen.page.get_by_role("link", name="Active").click()

    expect(screen.page.get_by_role("heading", name="Log in")).to_be_visible()
