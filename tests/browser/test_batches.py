"""The list of batches in front of a service that works: found, watched, stopped, run again, paused, taken away."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.urls import reverse
from playwright.sync_api import Locator, expect

from accounts.models import Account, ExternalUser, Owner
from batches.models import Batch, Status
from console.models import Act
from tests.batches.factories import make_upstream, reach, request_line, start, submit
from tests.browser.conftest import Screen, Show
from tests.browser.test_every_page import keep_picture
from tests.console.world import EVIL, TURNED, populate
from tests.factories import AccountFactory
from tests.support.installation import Installation
from tests.support.processes import running, wait_for
from tests.support.server import Server
from tests.support.stack import Upstream, simulator

LIST = reverse("admin:batches_batch_changelist")
BODY = '{"model": "m", "messages": [{"role": "user", "content": "Hello"}]}'
COUNT = 200
LINES = b"".join(request_line(str(number), BODY) for number in range(COUNT))
PATIENCE_MS = 60_000  # a worker has to wake up


@pytest.fixture
def upstream(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """A worker over the test's database, and the simulator it calls."""
    monkeypatch.setattr(settings, "STORAGE_DIR", server.storage)
    name = str(connection.settings_dict["NAME"])
    base = settings.DATABASE_URL if connection.vendor == "postgresql" else ""
    url = f"{base.rpartition('/')[0]}/{name}" if base else f"sqlite:///{name}"
    installation = Installation(tmp_path, url)
    installation.environment["STORAGE_DIR"] = str(server.storage)
    with simulator(installation) as upstream:
        make_upstream(base_url=upstream.url)
        log = tmp_path / "worker.log"
        with running("runworker", environment=installation.environment, log=log):
            yield upstream


@pytest.fixture
def alice(server: Server) -> Owner:
    acme = AccountFactory(name="acme")
    return Owner(acme, ExternalUser.objects.create(account=acme, external_id="alice"))


def part(screen: Screen, batch: Batch, key: str) -> Locator:
    """A part of a row that moves."""
    return screen.page.locator(f'[data-live="{batch.pk}.{key}"]')


def act(screen: Screen, verb: str, answer: str, reason: str) -> None:
    """Tick the only row, press a button, and answer the confirm page."""
    screen.page.locator("input.action-select").first.check()
    with screen.leaving():
        screen.page.get_by_role("button", name=f"{verb}…", exact=True).click()
    screen.page.get_by_label("Reason").fill(reason)
    with screen.leaving():
        screen.page.get_by_role("button", name=answer).click()


@contextmanager
def not_loaded_again(screen: Screen) -> Iterator[None]:
    """Within the block, the page is the same."""
    screen.page.evaluate("window.isTheSame = true")
    yield
    assert screen.page.evaluate("window.isTheSame") is True


def test_a_users_batch_is_found_watched_cancelled_and_run_again(
    upstream: Upstream, alice: Owner, operator: User, show: Show
) -> None:
    upstream.set(latency=2.0)
    other = submit(AccountFactory(name="globex"), LINES[: LINES.index(b"\n") + 1])
    batch = submit(alice, LINES, max_concurrency=4)
    screen = show(operator)
    screen.open(LIST)

    screen.page.get_by_role("searchbox").fill("alic")
    screen.page.keyboard.press("Enter")
    expect(screen.page.get_by_title(other.pk)).to_have_count(0)
    with screen.leaving():
        screen.page.get_by_role("link", name="Active").click()
    expect(screen.page.get_by_title(batch.pk)).to_be_visible()

    with not_loaded_again(screen):
        expect(part(screen, batch, "state")).to_have_text("in progress", timeout=PATIENCE_MS)
        before = part(screen, batch, "ended").inner_text()
        expect(part(screen, batch, "ended")).not_to_have_text(before, timeout=PATIENCE_MS)
        expect(part(screen, batch, "left")).to_contain_text("left", timeout=PATIENCE_MS)

    act(screen, "Cancel", "Cancel 1 batch", "ticket 4711")
    expect(screen.page.get_by_text("1 batch cancelled.")).to_be_visible()
    with screen.leaving():
        screen.page.get_by_role("link", name="Cancelled", exact=True).click()
    wait_for(lambda: status_of(batch) == Status.CANCELLED, "it is cancelled", 60)
    screen.open(f"{LIST}?q=alice")
    upstream.set(latency=0.0)
    act(screen, "Requeue failed", "Requeue the failed lines of 1 batch", "it was needed after all")

    with not_loaded_again(screen):
        expect(part(screen, batch, "state")).to_have_text("completed", timeout=PATIENCE_MS)
        expect(part(screen, batch, "ended")).to_have_text(str(COUNT))
    history = batch.history.order_by("id").values_list("reason", flat=True)
    assert [reason for reason in history if reason] == ["ticket 4711", "it was needed after all"]
    assert screen.troubles() == []


def test_a_batch_waits_while_it_is_paused(
    upstream: Upstream, alice: Owner, operator: User, show: Show
) -> None:
    upstream.set(latency=2.0)
    batch = submit(alice, LINES, max_concurrency=4)
    screen = show(operator)
    screen.open(LIST)
    expect(part(screen, batch, "state")).to_have_text("in progress", timeout=PATIENCE_MS)
    expect(part(screen, batch, "paused")).to_be_hidden()

    act(screen, "Pause", "Pause 1 batch", "too dear by day")
    expect(part(screen, batch, "paused")).to_be_visible()
    expect(part(screen, batch, "left")).to_have_text("waits to be resumed")
    with screen.leaving():
        screen.page.get_by_role("link", name="Paused").click()
    # Until the engine has heard of it, a quick upstream would answer all that is left.
    wait_for(lambda: not batch.shards.filter(state="running").exists(), "its shards are back", 30)
    upstream.set(latency=0.0)
    act(screen, "Resume", "Resume 1 batch", "night")

    screen.open(LIST)
    with not_loaded_again(screen):
        expect(part(screen, batch, "paused")).to_be_hidden(timeout=PATIENCE_MS)
        expect(part(screen, batch, "state")).to_have_text("completed", timeout=PATIENCE_MS)
    assert screen.troubles() == []


def status_of(batch: Batch) -> str:
    batch.refresh_from_db()
    return batch.status


def test_a_selection_is_exported_and_no_cell_is_a_formula(
    alice: Owner, operator: User, show: Show
) -> None:
    start(alice, 1, metadata={"=cmd()": EVIL})
    screen = show(operator)
    screen.open(LIST)

    screen.page.locator("input.action-select").first.check()
    with screen.page.expect_download() as download:
        screen.page.get_by_role("button", name="Export", exact=True).click()

    with download.value.path().open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert download.value.suggested_filename == "batches.csv"
    assert (row["account"], row["external_user"]) == ("acme", "alice")
    assert row["metadata"] == f"'=cmd()={EVIL}"
    assert Act.objects.get().verb == "export batches"


def test_what_strangers_wrote_does_nothing(alice: Owner, superuser: User, show: Show) -> None:
    evil = Account.objects.create(name=EVIL)
    user = ExternalUser.objects.create(account=evil, external_id=TURNED[:100])
    content = request_line(EVIL, f'{{"model": "{EVIL}", "messages": []}}')
    batch = start(Owner(evil, user), content, metadata={"description": EVIL, TURNED: "=cmd()"})
    batch.pause(actor="operator anna", reason=EVIL)
    reach(submit(alice, b"{}\n", metadata={"description": TURNED}), Status.FAILED)
    screen = show(superuser)

    for query in ("", f"?q={EVIL}", "?q==cmd()", f"?model={EVIL}", f"?account={EVIL}"):
        screen.open(f"{LIST}{query}")
        expect(screen.page.get_by_title(batch.pk)).to_be_visible()
        screen.settle()
        assert "\u202e" not in screen.text
    assert "evil⟨U+202E⟩gnp.exe" in screen.text
    assert screen.troubles() == []


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_the_list_looks_well_with_everything_in_it(
    phone: bool, superuser: User, show: Show
) -> None:
    populate()
    screen = show(superuser, phone=phone)
    for path in (LIST, f"{LIST}?state=active&created_from=2026-01-01&account=acme-prod"):
        screen.open(path)
        for theme in ("light", "dark"):
            screen.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            screen.settle()
            keep_picture(screen, path, theme)
        assert screen.width_too_much() == 0
    screen.page.locator("summary", has_text="Created").click()
    expect(screen.page.get_by_label("From")).to_be_visible()
    keep_picture(screen, f"{LIST}created-open", "dark")
    assert screen.width_too_much() == 0
    assert screen.troubles() == []
