"""A real browser, Debian's Chromium, on the page of a real server that draws with the toy checkpoint."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.serving import small

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
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


@pytest.fixture
def visit(browser, server):
    """Opens the page as a new visitor; at the end, whatever the browser complained of fails the test."""
    contexts, complaints = [], []

    def open_page(url=None, settings=SETTINGS, viewport=DESKTOP, wait="#generate", routes=None, **options):
        context = browser.new_context(viewport=viewport, **{"locale": "en-US", "reduced_motion": "reduce"} | options)
        context.set_default_timeout(WAIT * 1000)
        kept = json.dumps(json.dumps(settings))
        context.add_init_script(f"localStorage['fooocus.settings'] ??= {kept}")
        contexts.append(context)
        for pattern, handler in (routes or {}).items():
            context.route(pattern, handler)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        page.goto(url or page_of(server))
        page.wait_for_selector(wait)
        page.complaints = complaints
        return page

    yield open_page
    for context in contexts:
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
