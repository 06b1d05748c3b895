"""A real browser before a real web server over the test's database. Without Chromium these tests are skipped."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests.console.operators import in_role
from tests.support.server import Server

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
PATIENCE_MS = 15_000
# What has moved without anybody touching it. Source: web.dev, "Cumulative Layout Shift".
WATCH = """
    window.shifted = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) {
            window.shifted += entry.hadRecentInput ? 0 : entry.value;
        }
    }).observe({type: "layout-shift", buffered: true});
    document.addEventListener("securitypolicyviolation", (event) => {
        console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
    });
"""


DRAWN = """async () => {
    await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
    // Those that a redraw of the page breaks off are over, too.
    await Promise.allSettled(document.getAnimations().map((one) => one.finished));
}"""


class Screen:
    """A window of a browser, and whatever went wrong in it since it was last asked.

    page: Playwright's own, for whatever a test does.
    """

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.address = address
        self.page: Page = context.new_page()
        self._troubles: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self._troubles.append(f"error: {error}"))
        self.page.on("dialog", self._dismiss)
        self.page.on("requestfailed", self._miss)

    def open(self, path: str) -> None:
        """Load a page; fail the test when it does not answer well."""
        answer = self.page.goto(f"{self.address}{path}")
        assert answer is not None
        assert answer.status == 200, f"{path}: {answer.status}"

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Within the block the page is left, and when it ends the next one is there: a click alone waits for no page."""
        with self.page.expect_navigation():
            yield

    @property
    def text(self) -> str:
        return self.page.inner_text("body")

    def settle(self) -> None:
        """Wait until what was loaded has been drawn, and what fades has faded."""
        self.page.evaluate(DRAWN)

    def troubles(self) -> list[str]:
        """Return what the browser complained of: scripts, policy, missing files, dialogs."""
        heard, self._troubles = self._troubles, []
        return heard

    def width_too_much(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        root = "document.documentElement"
        return max(0, int(self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")))

    def shifted(self) -> float:
        return float(self.page.evaluate("window.shifted"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._troubles.append(f"{message.type}: {message.text}")

    def _miss(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # as when the page was left meanwhile
            self._troubles.append(f"failed: {request.url}")

    def _dismiss(self, dialog: Any) -> None:
        self._troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here; install it (chromium)")
    expect.set_options(timeout=PATIENCE_MS)
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Its event loop stays in this thread between two calls, and the ORM takes that for asynchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


Show = Callable[..., Screen]


@pytest.fixture
def show(chromium: Browser, server: Server) -> Iterator[Show]:
    """Open a window for an operator, or for nobody: `show(user, dark=True, phone=True, scripts=False)`."""
    contexts: list[BrowserContext] = []

    def open_window(
        user: User | None, *, dark: bool = False, phone: bool = False, scripts: bool = True
    ) -> Screen:
        address = f"http://localhost:{server.port}"
        context = chromium.new_context(
            viewport=PHONE if phone else DESKTOP,
            has_touch=phone,
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        if scripts:
            context.add_init_script(WATCH)
        if user is not None:
            cookie = _session_of(user)
            context.add_cookies([{"name": "sessionid", "value": cookie, "url": address}])
        return Screen(context, address)

    yield open_window
    for context in contexts:
        context.close()


def _session_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return str(client.cookies["sessionid"].value)


@pytest.fixture
def superuser(server: Server) -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def operator(server: Server) -> User:
    return in_role("operator")
