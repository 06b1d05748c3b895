"""A batch and its lines in a real browser, with a real worker that calls a simulated upstream."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from playwright.sync_api import Page, expect

from accounts.models import Account
from batches import journal
from batches.executor.lines import Result, answer_line
from batches.executor.transport import Answer
from batches.models import Batch, Status
from console.models import Act
from console.parts import page_of
from tests.batches.factories import (
    claimed,
    make_upstream,
    request_line,
    run,
    start,
    submit,
    unanswered,
)
from tests.browser.conftest import Screen, Show
from tests.console.operators import in_role
from tests.factories import AccountFactory
from tests.support.installation import Installation
from tests.support.processes import running
from tests.support.server import Server
from tests.support.stack import Upstream, simulator

EVIL = "<script>alert(1)</script>"
A_WHILE_MS = 60_000  # for a worker to come up and do its work on a busy machine


@pytest.fixture(autouse=True)
def _shared_storage(server: Server, settings: Any) -> None:
    """Let the web server, the worker and the test have one storage."""
    settings.STORAGE_DIR = server.storage


@pytest.fixture
def account(server: Server) -> Account:
    return AccountFactory(name="acme-prod")


@pytest.fixture
def upstream(server: Server, tmp_path: Path) -> Iterator[Upstream]:
    """A worker, and the simulator that it calls."""
    name = str(connection.settings_dict["NAME"])
    base = os.environ["DATABASE_URL"]
    url = f"{base.rpartition('/')[0]}/{name}" if base else f"sqlite:///{name}"
    installation = Installation(tmp_path, url)
    installation.environment |= {"STORAGE_DIR": str(server.storage), "BATCH_MAX_ATTEMPTS": "1"}
    with simulator(installation) as upstream:
        make_upstream(base_url=upstream.url)
        log = tmp_path / "worker.log"
        with running("runworker", environment=installation.environment, log=log):
            yield upstream


def questions(count: int) -> bytes:
    """So many requests that the simulator answers."""
    body = '{"model": "m", "messages": [{"role": "user", "content": "Which way?"}]}'
    return b"".join(request_line(str(number), body) for number in range(count))


def figure(page: Page, name: str) -> Any:
    """A number of the progress panel."""
    place = ["done", "failed", "open", "pace", "time", "window"].index(name)
    return page.locator(".numbers-of-batch strong").nth(place)


def lines_of(batch: Batch) -> str:
    return page_of(batch).replace("/change/", "/lines/")


def comes_to_its_end(screen: Screen) -> None:
    expect(screen.page.locator(".phase").nth(3)).to_have_text("completed", timeout=A_WHILE_MS)


@pytest.mark.e2e
def test_progress_moves_without_a_reload_and_comes_to_its_end(
    upstream: Upstream, account: Account, superuser: User, show: Show
) -> None:
    upstream.set(latency=3.0)
    batch = submit(account, questions(200), max_concurrency=20)
    screen = show(superuser)
    screen.open(page_of(batch))
    screen.page.evaluate("window.same = true")

    expect(screen.page.locator(".batch-told .badge").first).to_have_text(
        "in progress", timeout=A_WHILE_MS
    )
    expect(figure(screen.page, "pace")).to_contain_text("lines/")
    expect(figure(screen.page, "time")).to_contain_text("about")
    upstream.set(latency=0.0)
    comes_to_its_end(screen)

    expect(figure(screen.page, "done")).to_have_text("200")
    expect(screen.page.locator(".batch-bar .figures .quiet")).to_have_text("of 200 · 100 %")
    expect(figure(screen.page, "time")).to_contain_text("took")
    expect(screen.page.get_by_role("link", name="Download the output file")).to_be_visible()
    expect(screen.page.get_by_role("link", name="Requeue all…")).to_be_visible()
    assert screen.page.evaluate("window.same")
    assert screen.troubles() == []


@pytest.mark.e2e
def test_the_lines_of_one_cause_run_again(
    upstream: Upstream, account: Account, superuser: User, show: Show
) -> None:
    upstream.set(fail=1.0)
    batch = submit(account, questions(5))
    screen = show(superuser)
    screen.open(page_of(batch))
    comes_to_its_end(screen)
    upstream.set(fail=0.0)

    expect(screen.page.get_by_role("row", name="http_500")).to_contain_text("100 %")
    screen.page.get_by_role("link", name="Requeue these…").click()
    expect(screen.page.get_by_label("http_500 (5 lines)")).to_be_checked()
    screen.page.get_by_label("Reason").fill("the upstream is well again")
    screen.page.get_by_role("button", name="Requeue lines of 1 batch by cause").click()

    expect(screen.page.get_by_text("1 batch requeued.")).to_be_visible()
    expect(screen.page.get_by_text("Requeued: run 2")).to_be_visible()
    comes_to_its_end(screen)
    expect(figure(screen.page, "done")).to_have_text("5")
    expect(figure(screen.page, "failed")).to_have_text("0")
    assert screen.troubles() == []


def test_a_line_is_read_in_the_dialog(account: Account, superuser: User, show: Show) -> None:
    batch = run(start(account, 3), failing={"1"})
    screen = show(superuser)
    screen.open(lines_of(batch))

    screen.page.get_by_role("link", name="2", exact=True).click()
    dialog = screen.page.get_by_role("dialog")
    expect(dialog).to_contain_text("The model is not there.")
    expect(dialog).to_contain_text('"messages": []')
    screen.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)

    expect(screen.page.get_by_role("link", name="2", exact=True)).to_be_focused()
    assert [(act.verb, act.parameters) for act in Act.objects.all()] == [
        ("read a line", {"line": 2})
    ]
    assert screen.troubles() == []


def test_a_line_is_read_without_scripts(account: Account, superuser: User, show: Show) -> None:
    batch = run(start(account, 3))
    screen = show(superuser, scripts=False)
    screen.open(page_of(batch))

    with screen.leaving():
        screen.page.get_by_role("link", name="All lines").click()
    screen.page.get_by_role("link", name="3", exact=True).click()

    expect(screen.page.get_by_role("heading", name="Line 3")).to_be_visible()
    expect(screen.page.get_by_label("Answer")).to_contain_text('"ok": true')


def test_failed_lines_are_ticked_and_run_again(
    account: Account, operator: User, show: Show
) -> None:
    batch = run(start(account, 6), failing={"1", "3", "5"})
    batch.move(Status.COMPLETED, actor="test")
    screen = show(operator, phone=True)
    screen.open(f"{lines_of(batch)}?state=failed")
    button = screen.page.get_by_role("button", name="Requeue lines…")
    expect(button).to_be_disabled()

    screen.page.get_by_label("Select line 2").check()
    screen.page.get_by_label("Select line 6").check()
    expect(screen.page.get_by_text("2 selected")).to_be_visible()
    button.click()
    expect(screen.page.get_by_label("Numbers of lines")).to_have_value("2, 6")
    screen.page.get_by_label("Reason").fill("wrong prompt")
    screen.page.get_by_role("button", name="Requeue chosen lines of 1 batch").click()

    expect(screen.page.get_by_text("1 batch requeued.")).to_be_visible()
    batch.refresh_from_db()
    assert (batch.status, batch.failed) == (Status.IN_PROGRESS, 1)


def test_a_viewer_sees_no_content_and_can_do_nothing(account: Account, show: Show) -> None:
    batch = run(start(account, 3), failing={"1"})
    screen = show(in_role("viewer"))

    screen.open(page_of(batch))
    expect(screen.page.get_by_role("row", name="http_400")).to_be_visible()
    assert "The model is not there." not in screen.page.content()
    assert screen.page.locator('main a[href*="/do/"], main a[href*="/content/"]').count() == 0
    assert screen.page.locator("main button:not(.copy)").count() == 0
    with screen.leaving():
        screen.page.get_by_role("link", name="All lines").click()
    expect(screen.page.get_by_role("row", name="http_400")).to_be_visible()
    assert screen.page.locator("main td a, main th a, main tbody input").count() == 0
    refused = screen.page.goto(f"{screen.address}{lines_of(batch)}0.1/")

    assert refused is not None
    assert refused.status == 403
    assert Act.objects.count() == 0


def answered_with(batch: Batch, body: bytes) -> None:
    """Let the upstream have answered every line with this."""
    for shard in batch.shards.order_by("number"):
        results = [
            Result.of(
                one,
                answer_line(one, Answer(418, {}, body)),
                attempts=1,
                status=418,
                cause=f"http_418 {EVIL}",
                latency_ms=5,
            )
            for one in unanswered(claimed(shard))
        ]
        assert journal.finish(shard, batch.attempt, results, advance=True)


def test_a_script_from_a_stranger_does_nothing(
    account: Account, superuser: User, show: Show
) -> None:
    prompt = json.dumps({"model": "m", "messages": [EVIL]})
    metadata = {"description": EVIL, EVIL[:64]: EVIL}
    batch = start(account, request_line(EVIL, prompt), metadata=metadata)
    answered_with(batch, json.dumps({"error": {"message": EVIL}}).encode())
    screen = show(superuser)

    for path in (page_of(batch), lines_of(batch), f"{lines_of(batch)}0.0/"):
        screen.open(path)
        screen.settle()
        assert EVIL in screen.text
        assert screen.page.locator("main script").count() == 0
    screen.open(lines_of(batch))
    screen.page.get_by_role("link", name="1", exact=True).click()
    expect(screen.page.get_by_role("dialog")).to_contain_text(EVIL)

    assert screen.page.locator("dialog script").count() == 0
    assert screen.troubles() == []
