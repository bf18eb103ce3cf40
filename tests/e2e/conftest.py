"""A real browser against a real server. Without Chromium these tests are skipped, and say so."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHROMIUM_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
WAIT_MS = 60_000  # a slow machine is not a failure
# The first is Chromium without its windows: a tenth faster here.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here not in item.path.parents:
            continue
        item.add_marker("browser")
        # A browser beside a full test run may be starved for a minute. What fails twice has failed; what passes at the
        # second look is listed as a rerun, to be mended. No other test has a second chance: a race is a finding.
        item.add_marker(pytest.mark.flaky(reruns=1))
        if CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="no Chromium here: install the package chromium to run these"))


@pytest.fixture(scope="session", autouse=True)
def _database_beside_the_browsers_loop() -> None:
    """Playwright runs an event loop in this thread, where Django would refuse to touch the database."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=WAIT_MS)

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield running
        running.close()


@pytest.fixture
def open_browser(browser, live_server) -> Iterator[Callable]:
    """`open_browser(user, **context options)`: a page of its own, signed in as that person (or as nobody).

    A script error or a violation of the content policy on any page fails the test.
    """
    contexts, problems = [], []

    def note(message) -> None:
        if "Content Security Policy" in message.text or "Refused to" in message.text:
            problems.append(message.text)

    def open_as(user=None, **options):
        context = browser.new_context(
            base_url=live_server.url, **({"viewport": {"width": 1400, "height": 900}} | options)
        )
        contexts.append(context)
        if user is not None:
            context.add_cookies([session_cookie(user, live_server.url)])
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", note)
        return page

    yield open_as
    for context in contexts:
        context.close()
    time.sleep(0.2)  # a page that closes sends its draft once more: let the server finish before its rows go
    assert not problems, problems


def session_cookie(user, url: str) -> dict[str, str]:
    from django.conf import settings
    from django.test import Client

    client = Client()
    client.force_login(user)
    return {
        "name": settings.SESSION_COOKIE_NAME,
        "value": client.cookies[settings.SESSION_COOKIE_NAME].value,
        "url": url,
    }
