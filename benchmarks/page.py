"""What the web page costs a browser: `python -m benchmarks.page`; needs Chromium and playwright, as its tests do.

Every visit is a new visitor's, with nothing kept from the one before; the server is on the same machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.serving import Server, small
from tests.toy import toy_checkpoint
from tests.webui.conftest import CHROMIUM, DESKTOP, page_of
from tests.webui.scrolling import many_tasks, measured_frames

VISITS = 9
FRAMES = 600
MOST_PAINT, MOST_BYTES, MOST_FRAME = 300, 200_000, 1000 / 60
"""Targets: milliseconds to the first paint, bytes besides pictures, milliseconds of a frame."""
LOADED = """() => {
    const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
    const files = all.filter((one) => one.name.includes("/static/") || one.entryType === "navigation");
    const sum = (size) => files.reduce((total, one) => total + one[size], 0);
    return [sum("transferSize"), sum("decodedBodySize")];
}"""


def main() -> None:
    """Print the figures beside their targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000, help="ended tasks in the gallery that scrolls")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        models = Path(folder) / "models"
        (models / "checkpoints").mkdir(parents=True)
        toy_checkpoint(models / "checkpoints" / small()["base_model_name"])
        server = Server(Path(folder) / "instance", models).ready()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            first_visits(browser, page_of(server))
            with many_tasks(server, options.tasks):
                scrolling(browser, page_of(server), options.tasks)
        finally:
            browser.close()
            server.stop()


def first_visits(browser: Any, url: str) -> None:
    """Print when a first visit is painted, and how much it loads."""
    paints, loads = [], []
    for _ in range(VISITS):
        context = browser.new_context(viewport=DESKTOP, locale="en-US")
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector("#generate")
        paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        loads.append(page.evaluate(LOADED))
        context.close()
    told(f"first paint, median of {VISITS}", f"{statistics.median(paints):.0f} ms", f"{MOST_PAINT} ms")
    told("first paint, slowest", f"{max(paints):.0f} ms", f"{MOST_PAINT} ms")
    told("page, as it is sent", f"{loads[0][0]:,} bytes", f"{MOST_BYTES:,} bytes")
    told("page, unpacked", f"{loads[0][1]:,} bytes", "")


def scrolling(browser: Any, url: str, tasks: int) -> None:
    """Print how long frames take while a long gallery scrolls."""
    context = browser.new_context(viewport=DESKTOP, locale="en-US")
    page = context.new_page()
    page.goto(url + "/#/gallery")
    page.wait_for_selector(".card-open img")
    frames = measured_frames(page, FRAMES)
    told(f"a frame, {tasks:,} tasks scrolling, median", f"{statistics.median(frames):.1f} ms", f"{MOST_FRAME:.1f} ms")
    told("a frame, 95 %", f"{frames[int(len(frames) * 0.95)]:.1f} ms", f"{MOST_FRAME:.1f} ms")
    told("frames a second", f"{1000 * len(frames) / sum(frames):.1f}", "60")
    context.close()


def told(what: str, figure: str, target: str) -> None:
    """Print one figure."""
    print(f"{what:44} {figure:>16}   {target}", flush=True)


if __name__ == "__main__":
    main()
