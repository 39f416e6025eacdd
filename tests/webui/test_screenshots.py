"""The pictures of the web page that the documents show, taken of what the built-in model draws: `make screenshots`."""

import io

import pytest
from PIL import Image

from tests.serving import ROOT
from tests.webui.conftest import DESKTOP, page_of

FOLDER = ROOT / "docs" / "pictures"
MOST_BYTES = 150_000
PHONE = {"width": 390, "height": 780}
SMALL = {"aspect_ratios_selection": "512*512", "overwrite_step": 16, "style_selections": []}
PROMPTS = (
    "a red apple on a wooden table",
    "an owl in a forest",
    "a sailboat on the sea",
    "a yellow flower in a garden",
)


def take(page, name):
    """Keep what is in view as a JPEG."""
    data = page.screenshot(scale="css")
    path = FOLDER / f"page-{name}.jpg"
    Image.open(io.BytesIO(data)).convert("RGB").save(path, quality=84, optimize=True, progressive=True)
    assert path.stat().st_size <= MOST_BYTES


def drawn(page, words):
    """Draw this, to the end."""
    page.fill("#prompt", words)
    page.click("#generate")
    page.wait_for_selector("#stop")
    page.wait_for_selector("#stop", state="detached")
    page.wait_for_function("() => [...document.querySelectorAll('.result img')].every((image) => image.complete)")


@pytest.mark.slow
def test_the_documents_show_the_page_as_it_is(request, visit, make_server, tmp_path):
    if not request.config.getoption("--screenshots"):
        pytest.skip("writes into docs/pictures: make screenshots")
    (tmp_path / "models").mkdir()
    served = make_server(FOOOCUS_MODELS_PATH=str(tmp_path / "models")).ready()
    url = page_of(served)
    page = visit(url, settings=SMALL | {"image_number": 2})
    for words in PROMPTS:
        drawn(page, words)
    page.click("#toggle-settings")
    drawn(page, PROMPTS[0])
    take(page, "desktop")
    page.click("nav >> text=Gallery")
    page.wait_for_selector(".card-open img")
    page.wait_for_timeout(1000)
    take(page, "gallery")
    page.click("nav >> text=Draw")
    page.click("#toggle-settings")
    page.get_by_label("Use as input").first.click()
    page.click("#input-tab-inpaint")
    page.click("#input-tab-uov")
    take(page, "pictures")
    page.click(".result-open")
    page.click("dialog >> text=Inpaint")
    page.wait_for_function("() => document.querySelector('#mask')?.width === 512")
    page.locator("#mask").scroll_into_view_if_needed()
    box = page.locator("#mask").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.6)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.7, steps=8)
    page.mouse.up()
    page.locator(".inputs").scroll_into_view_if_needed()
    page.evaluate("document.querySelector('.inputs').scrollIntoView()")
    take(page, "inpaint")
    page.click("#toggle-input")
    for words in PROMPTS:
        page.fill("#prompt", words)
        page.click("#generate")
        page.wait_for_function("() => !document.querySelector('#generate').disabled")
    page.click("nav >> text=Queue")
    page.wait_for_function("() => document.querySelectorAll('.queue-row').length >= 3")
    page.wait_for_timeout(1500)
    take(page, "queue")
    dark = visit(url, settings=SMALL, viewport=DESKTOP, color_scheme="dark")
    dark.wait_for_selector("#preview")
    take(dark, "dark")
    phone = visit(url, settings=SMALL, viewport=PHONE, has_touch=True)
    phone.wait_for_selector("#preview")
    take(phone, "phone")
