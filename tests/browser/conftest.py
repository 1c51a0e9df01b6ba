"""A service with tokens, and a real browser."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from examples.build import build
from tests.support.deployments import deployed
from tests.support.service import Service

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: How long something may take to show: other tests may keep the machine busy.
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)
ROLES = ("view", "operate", "admin")
#: Opens a window; more settings of it may be given.
Open = Callable[..., Page]


@pytest.fixture(name="service", scope="session")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A deployment with the examples in its stores."""
    with deployed(tmp_path_factory.mktemp("browser") / "i") as service:
        build(service.workflow_store, service.model_store)
        yield service


@pytest.fixture(name="tokens", scope="session")
def _tokens(service: Service) -> Mapping[str, str]:
    """Return a token of each of these roles; from then on the page asks for one."""
    made = {role: service.command("token", "create", role, "--role", role).stdout for role in ROLES}
    return {role: next(word for word in text.split() if word.startswith("wfm_")) for role, text in made.items()}


@pytest.fixture(name="browser", scope="session")
def _browser() -> Iterator[Browser]:
    """Start Debian's chromium."""
    if CHROMIUM is None:
        pytest.fail("there is no chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(name="open_window")
def _open_window(browser: Browser, service: Service, tmp_path: Path) -> Iterator[Open]:
    """Give a function that opens a window at the page; in the end no window may have complained about anything."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_window(**settings: Any) -> Page:
        context = browser.new_context(base_url=service.management, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        # What was refused is shown to people, too; a policy that was broken is a defect.
        page.on("console", lambda message: complaints.append(message.text) if "Policy" in message.text else None)
        page.goto("/")
        return page

    yield open_window
    for number, context in enumerate(contexts):
        context.pages[0].screenshot(path=tmp_path / f"{number}.png", full_page=True)
        context.close()
    assert complaints == []
