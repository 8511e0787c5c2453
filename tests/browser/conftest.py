"""A browser, and pages in it that may neither complain nor ask others for anything."""

import os
from pathlib import Path

import pytest

CHROMIUM = Path(os.environ.get("GANTLET_CHROMIUM", "/usr/bin/chromium"))
ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}; set GANTLET_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser):
    """Opens a page; what it complains of, and what it asks of others, fails the test.

    Addresses that begin with ``own`` are not those of others.
    """
    contexts, complaints = [], []

    def open_with(url, own, *, width=1400, **settings):
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text))
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on("dialog", lambda d: (complaints.append(d.message), d.dismiss()))
        page.on(
            "request",
            lambda r: r.url.startswith(("data:", "blob:", own)) or complaints.append(r.url),
        )
        page.goto(url)
        return page

    yield open_with
    for context in contexts:
        context.close()
    assert complaints == []
