"""A real browser, Debian's Chromium, on the page of a real server that draws with the toy checkpoint."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.serving import small

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
SETTINGS = {name: value for name, value in small().items() if name != "prompt"}
"""What the page has kept, as if a person had set it: small pictures of the toy checkpoint."""
WAIT = 120
"""Seconds that something may take to appear: a busy machine needs some, and what hangs fails."""
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 640}


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all tests; without one they are skipped."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine; on Debian: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing; make install brings it")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


def page_of(server) -> str:
    """Where the server's web page is, on its own port."""
    return re.search(r"Web page +(http://\S+)", "".join(server.lines)).group(1)


def new_context(browser, **options):
    """A visitor of whom the browser knows nothing yet."""
    context = browser.new_context(**{"viewport": DESKTOP, "locale": "en-US", "reduced_motion": "reduce"} | options)
    context.set_default_timeout(WAIT * 1000)
    return context


@pytest.fixture(scope="session")
def usual(browser, server):
    """The context of all who visit with nothing of their own, one after the other.

    A tab stays open in it, and with it the process that draws pages: to begin another, with a context, takes twice the
    processor time of all that the page itself does.
    """
    context = new_context(browser)
    context.new_page().goto(f"http://127.0.0.1:{server.port}/ping")
    yield context
    context.close()


def forget(context, origins):
    """Have the next visitor find nothing of what this one left; the files of the page may stay in the cache."""
    tab, *pages = context.pages
    for page in pages:
        page.close()
    context.unroute_all()
    context.clear_cookies()
    session = context.new_cdp_session(tab)
    for origin in origins:
        session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
    session.detach()


@pytest.fixture
def visit(browser, usual, server):
    """Opens the page as a new visitor; at the end, whatever the browser complained of fails the test."""
    contexts, origins, complaints = [], [], []

    def open_page(url=None, settings=SETTINGS, wait="#generate", routes=None, **options):
        context = new_context(browser, **options) if options or usual in contexts else usual
        contexts.append(context)
        for pattern, handler in (routes or {}).items():
            context.route(pattern, handler)
        page = context.new_page()
        page.add_init_script(f"localStorage['fooocus.settings'] ??= {json.dumps(json.dumps(settings))}")
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        page.goto(url or page_of(server))
        origins.append(page.evaluate("origin"))
        page.wait_for_selector(wait)
        page.complaints = complaints
        return page

    yield open_page
    for context in contexts:
        if context is usual:
            forget(context, origins)
        else:
            context.close()
    assert complaints == []


def second_tab(page):
    """Another tab of the same browser."""
    tab = page.context.new_page()
    tab.goto(page.url)
    tab.wait_for_selector("#generate")
    return tab


def touch(session, kind, *points):
    """Fingers at these points."""
    fingers = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
    session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
