"""Pictures that go into a request: chosen, dropped, pasted, painted over, and what their parameters say."""

import base64
import io

import numpy
import pytest
from PIL import Image

from tests.webui.conftest import SETTINGS, touch

BUILTIN = SETTINGS | {"base_model_name": "fooocus_mini.safetensors"}
"""Settings for the built-in model, which inpaints without further files."""
REACH = 32
"""Pixels around a mask within which inpainting may change the picture."""
MODULE = "import(document.querySelector('script').src.replace('main', 'settings'))"
"""The page's module that holds what the next request will say."""
KEPT = f"""async () => {{
    const {{keptPictures}} = await {MODULE.replace("settings", "storage")};
    return JSON.stringify(await keptPictures()) === JSON.stringify((await {MODULE}).pictures.value);
}}"""
"""Whether the browser has kept the pictures that the page shows, once it has kept what it was given."""
PAINTED = """() => {
    const {width, height} = document.querySelector('#mask');
    const data = document.querySelector('#mask').getContext('2d').getImageData(0, 0, width, height).data;
    return data.filter((value, at) => at % 4 === 3 && value > 127).length;
}"""
"""Counts the pixels that are painted."""


@pytest.fixture
def photograph(tmp_path):
    """A picture of 256 pixels with something in every place."""
    across = numpy.linspace(0, 255, 256, dtype=numpy.uint8)
    pixels = numpy.stack(
        [numpy.tile(across, (256, 1)), numpy.tile(across[:, None], (1, 256)), numpy.full((256, 256), 90, "uint8")], -1
    )
    path = tmp_path / "photograph.png"
    Image.fromarray(pixels).save(path)
    return path


def inputs_open(page, tab):
    """The panel of pictures at this tab."""
    page.click("#toggle-input")
    page.click(f"#input-tab-{tab}")


def choose(page, path, slot):
    """Choose this file for a picture's place."""
    page.set_input_files(f"[data-slot={slot}] input[type=file]", path)
    page.wait_for_selector(f"[data-slot={slot}].full")


def drawn(page, server):
    """The record of what Generate draws now."""
    before = page.evaluate("localStorage['fooocus.shown']")
    page.click("#generate")
    page.wait_for_function("before => localStorage['fooocus.shown'] !== before", arg=before)
    page.wait_for_selector(".stage-results")
    return server.get(f"/tasks/{page.evaluate('JSON.parse(localStorage[`fooocus.shown`])')}").json


def opened(server, url):
    """A picture of the server, as an array."""
    return numpy.asarray(
        Image.open(
            io.BytesIO(server.get(url.partition(f":{server.port}")[2] or "/" + url.split("/", 3)[3]).body)
        ).convert("RGB")
    )


def test_a_painted_mask_is_redrawn_and_all_around_it_stays(visit, server, photograph):
    page = visit(settings=BUILTIN)
    inputs_open(page, "inpaint")
    choose(page, photograph, "inpaint")
    page.wait_for_function("() => document.querySelector('#mask').width === 256")
    page.locator("#mask").scroll_into_view_if_needed()
    box = page.locator("#mask").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.2, steps=4)
    page.mouse.up()
    page.fill("#prompt", "a hat")
    page.click("#toggle-settings")  # the mask stays whatever else is changed
    page.click(".chip:text-is('Quality')")
    record = drawn(page, server)
    assert record["task_status"] == "finished"
    mask = opened(server, record["req_params"]["inpaint_mask_image_upload"])[..., 0] > 127
    assert 0 < mask.mean() < 0.3 and mask[int(mask.shape[0] * 0.2), int(mask.shape[1] * 0.25)]
    rows, columns = numpy.nonzero(mask)
    before, after = opened(server, record["req_params"]["inpaint_input_image"]), opened(server, record["result"][0])
    outside = numpy.ones(mask.shape, bool)
    outside[max(0, rows.min() - REACH) : rows.max() + REACH, max(0, columns.min() - REACH) : columns.max() + REACH] = (
        False
    )
    assert before.shape == after.shape and numpy.array_equal(before[outside], after[outside])
    assert not numpy.array_equal(before[mask], after[mask])


def paint(page, place):
    """Dab on the mask, at this part of its width."""
    page.wait_for_function("() => document.querySelector('#mask').width === 256")
    page.locator("#mask").scroll_into_view_if_needed()
    box = page.locator("#mask").bounding_box()
    page.mouse.click(box["x"] + box["width"] * place, box["y"] + box["height"] * 0.4)


def test_strokes_are_taken_back_one_by_one_and_a_mask_outlives_a_reload(visit, photograph):
    page = visit()
    inputs_open(page, "inpaint")
    choose(page, photograph, "inpaint")
    page.wait_for_function("() => document.querySelector('#mask').width === 256")
    counts = [page.evaluate(PAINTED)]
    for place in (0.3, 0.6):
        paint(page, place)
        counts.append(page.evaluate(PAINTED))
    assert counts[0] == 0 < counts[1] < counts[2]
    page.get_by_label("Undo").click()
    assert page.evaluate(PAINTED) == counts[1]
    assert page.evaluate(KEPT)
    page.reload()
    page.wait_for_function(f"() => document.querySelector('#mask')?.width === 256 && ({PAINTED})() > 0")
    page.click("text=Clear")
    assert page.evaluate(PAINTED) == 0


def test_a_mask_that_was_cleared_twice_comes_back_by_undoing(visit, photograph):
    page = visit()
    inputs_open(page, "inpaint")
    choose(page, photograph, "inpaint")
    paint(page, 0.3)
    before = page.evaluate(PAINTED)
    assert page.evaluate(KEPT)
    page.reload()
    page.wait_for_function(f"() => document.querySelector('#mask')?.width === 256 && ({PAINTED})() > 0")
    page.click("text=Clear")
    paint(page, 0.6)
    page.click("text=Clear")
    assert page.evaluate(PAINTED) == 0
    for _ in range(3):
        page.get_by_label("Undo").click()
    assert page.evaluate(PAINTED) == before > 0


def test_a_picture_is_varied_and_a_result_becomes_the_next_input(visit, server, photograph):
    page = visit()
    inputs_open(page, "uov")
    choose(page, photograph, "uov")
    page.click("text=Vary (Strong)")
    record = drawn(page, server)
    assert record["req_params"]["uov_method"] == "Vary (Strong)" and record["task_status"] == "finished"
    page.click(".result-open")
    page.click("dialog >> text=Use as input")
    page.wait_for_selector("[data-slot=uov] img[src*='/outputs/']")
    again = drawn(page, server)
    assert again["task_status"] == "finished" and again["task_id"] != record["task_id"]


def test_pictures_are_dropped_and_pasted_and_guide_the_drawing(visit, server, photograph):
    page = visit()
    inputs_open(page, "ip")
    data = base64.b64encode(photograph.read_bytes()).decode()
    hand = """([kind, selector, data]) => {
        const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
        const moved = new DataTransfer();
        moved.items.add(new File([bytes], "picture.png", {type: "image/png"}));
        const made = kind === "drop"
            ? new DragEvent("drop", {dataTransfer: moved, bubbles: true, cancelable: true})
            : new ClipboardEvent("paste", {clipboardData: moved, bubbles: true, cancelable: true});
        document.querySelector(selector).dispatchEvent(made);
    }"""
    page.evaluate(hand, ["drop", "[data-slot=cn0]", data])
    page.wait_for_selector("[data-slot=cn0].full")
    page.evaluate(hand, ["paste", "body", data])
    page.wait_for_selector("[data-slot=cn1].full")
    page.select_option("#f-cn\\.1\\.cn_type", "PyraCanny")
    request = page.evaluate(f"async () => (await {MODULE}).request()")
    told = [(one["cn_type"], one["cn_stop"], one["cn_weight"]) for one in request["controlnet_image"]]
    assert told == [("ImagePrompt", 0.5, 0.6), ("PyraCanny", 0.5, 1)]


def test_a_pictures_own_parameters_are_offered_when_it_comes(visit, server, tmp_path):
    drawn_before = server.draw({"prompt": "it remembers", "sharpness": 4.5}).json
    path = tmp_path / "drawn.png"
    path.write_bytes(server.get("/" + drawn_before["result"][0].split("/", 3)[3]).body)
    page = visit()
    inputs_open(page, "metadata")
    choose(page, path, "metadata")
    page.wait_for_selector("[role=tabpanel] .parameters >> text=it remembers")
    page.click(".offer >> text=Apply")
    page.wait_for_function("() => document.querySelector('#prompt').value === 'it remembers'")
    assert page.evaluate("JSON.parse(localStorage['fooocus.settings']).sharpness") == 4.5


def test_a_picture_is_described_in_words_that_become_the_prompt(visit, photograph):
    page = visit()
    inputs_open(page, "describe")
    choose(page, photograph, "describe")
    page.click("[role=tabpanel] button:text-is('Describe')")
    words = page.inner_text("#description")
    page.click("text=Use as prompt")
    assert words and page.input_value("#prompt") == words
    styles = page.evaluate("JSON.parse(localStorage['fooocus.settings']).style_selections")
    assert styles == ["Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"]
    page.evaluate("localStorage.removeItem('fooocus.settings')")
    assert page.evaluate(KEPT)
    page.reload()
    page.get_by_label("Apply styles", exact=True).uncheck()
    page.click("[role=tabpanel] button:text-is('Describe')")
    page.click("text=Use as prompt")
    assert page.evaluate("JSON.parse(localStorage['fooocus.settings'])") == SETTINGS | {"prompt": words}


def test_where_styles_cannot_be_listed_those_of_a_description_are_taken_all_the_same(visit, photograph):
    refused = {"status": 403, "json": {"detail": "Forbidden"}}
    page = visit(routes={"**/v1/engines/*": lambda route: route.fulfill(**refused)})
    inputs_open(page, "describe")
    choose(page, photograph, "describe")
    page.click("[role=tabpanel] button:text-is('Describe')")
    page.click("text=Use as prompt")
    styles = page.evaluate("JSON.parse(localStorage['fooocus.settings']).style_selections")
    assert styles == ["Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"]


def test_words_to_begin_with_fill_prompts_of_inpainting_and_enhancing(visit):
    page = visit()
    inputs_open(page, "inpaint")
    page.click(".quick >> text=five fingers")
    assert "five fingers" in page.input_value("#f-inpaint_additional_prompt")
    page.click("#input-tab-enhance")
    page.click(".quick .chip:text-is('mouth')")
    page.click(".quick >> text=bright eyes")
    kept = page.evaluate("JSON.parse(localStorage['fooocus.settings'])")
    assert kept["enhance_ctrls"][0]["enhance_mask_dino_prompt"] == "mouth"
    assert "bright eyes" in kept["enhance_ctrls"][0]["enhance_prompt"]


def test_a_picture_is_enhanced_by_steps_made_of_the_schema(visit, server, photograph):
    page = visit(settings=SETTINGS | {"enhance_uov_method": "Vary (Subtle)"})
    inputs_open(page, "enhance")
    choose(page, photograph, "enhance")
    page.click("#enhance-step-1")
    assert page.locator("[data-member='enhance_ctrls.1.enhance_prompt'] textarea").is_visible()
    page.fill("[data-member='enhance_ctrls.1.enhance_prompt'] textarea", "a nose")
    record = drawn(page, server)
    assert (
        record["req_params"]["enhance_checkbox"]
        and record["req_params"]["enhance_ctrls"][1]["enhance_prompt"] == "a nose"
    )


COLOUR = """() => {
    const {width, height} = document.querySelector('#mask');
    const data = document.querySelector('#mask').getContext('2d').getImageData(0, 0, width, height).data;
    const at = data.findIndex((value, place) => place % 4 === 3 && value === 255);
    return [...data.slice(at - 3, at)];
}"""
"""The colour of what is painted."""


def test_the_brush_has_the_colour_that_one_likes_and_the_mask_stays_the_same(visit, photograph):
    page = visit()
    inputs_open(page, "inpaint")
    choose(page, photograph, "inpaint")
    paint(page, 0.3)
    mask = f"async () => (await {MODULE}).pictures.value.mask"
    before = page.evaluate(mask)
    page.fill(".brush-color", "#10c020")
    assert page.evaluate(COLOUR) == [0x10, 0xC0, 0x20]
    assert before and page.evaluate(mask) == before
    assert page.evaluate(KEPT)
    page.reload()
    page.wait_for_function(f"() => document.querySelector('#mask')?.width === 256 && ({PAINTED})() > 0")
    assert page.evaluate(COLOUR) == [0x10, 0xC0, 0x20] and page.input_value(".brush-color") == "#10c020"


def board_with_touch(visit, photograph):
    """The board on a screen that is touched, what sends touches to it, and where its picture is."""
    page = visit(has_touch=True)
    inputs_open(page, "inpaint")
    choose(page, photograph, "inpaint")
    page.wait_for_function("() => document.querySelector('#mask').width === 256")
    page.locator("#mask").scroll_into_view_if_needed()
    return page, page.context.new_cdp_session(page), page.locator("#mask").bounding_box()


def test_one_finger_paints_and_two_zoom_and_move(visit, photograph):
    page, session, box = board_with_touch(visit, photograph)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch(session, "touchStart", (x - 60, y))
    for step in (-40, -20, 0):
        touch(session, "touchMove", (x + step, y))
    touch(session, "touchEnd")
    painted = page.evaluate(PAINTED)
    assert painted > 0
    low = y + box["height"] / 4
    touch(session, "touchStart", (x - 20, low))
    touch(session, "touchStart", (x - 20, low), (x + 20, low))
    for spread in (30, 40, 60):
        touch(session, "touchMove", (x - spread, low), (x + spread, low))
    page.wait_for_function("() => document.querySelector('.zoom span').textContent === '300%'")
    zoomed = page.locator("#mask").bounding_box()
    assert zoomed["width"] == pytest.approx(box["width"] * 3, rel=0.02)
    middle = (x - zoomed["x"]) / zoomed["width"], (low - zoomed["y"]) / zoomed["height"]
    assert middle == pytest.approx((0.5, 0.75), abs=0.05)  # what was between the fingers still is
    touch(session, "touchMove", (x - 100, low - 30), (x + 20, low - 30))
    page.wait_for_function("x => document.querySelector('#mask').getBoundingClientRect().x < x - 30", arg=zoomed["x"])
    moved = page.locator("#mask").bounding_box()
    assert moved["x"] == pytest.approx(zoomed["x"] - 40, abs=3) and moved["y"] == pytest.approx(zoomed["y"] - 30, abs=3)
    touch(session, "touchEnd")
    assert painted * 0.9 < page.evaluate(PAINTED) <= painted  # the first of two fingers left no dab


def test_a_pen_paints_where_it_is(visit, photograph):
    page, session, box = board_with_touch(visit, photograph)
    page.evaluate(
        "document.querySelector('#mask').addEventListener('pointerdown', (event) => (window.kind = event.pointerType))"
    )
    at = {"pointerType": "pen", "button": "left", "buttons": 1, "clickCount": 1, "force": 0.7, "tiltX": 20}
    x, y = box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.5
    for kind, across in (("mousePressed", 0), ("mouseMoved", 20), ("mouseMoved", 40), ("mouseReleased", 40)):
        session.send("Input.dispatchMouseEvent", {"type": kind, "x": x + across, "y": y, **at})
    assert page.evaluate("kind") == "pen"
    row, column = 128, int(256 * (x + 20 - box["x"]) / box["width"])
    pixel = "([x, y]) => document.querySelector('#mask').getContext('2d').getImageData(x, y, 1, 1).data[3]"
    assert page.evaluate(pixel, [column, row]) == 255 and page.evaluate(pixel, [column, 5]) == 0


def test_what_was_to_be_done_with_a_picture_is_left_out_without_one(visit, photograph):
    page = visit(settings=SETTINGS | {"uov_method": "Vary (Subtle)", "outpaint_selections": ["Left"]})
    request = f"async () => Object.keys((await {MODULE}).request())"
    assert not {"uov_method", "outpaint_selections"} & set(page.evaluate(request))
    inputs_open(page, "uov")
    choose(page, photograph, "uov")
    assert {"uov_method", "uov_input_image"} <= set(page.evaluate(request))
