"""Pictures that go into a request: chosen, dropped, pasted, painted over, and what their parameters say."""

import base64
import io

import numpy
import pytest
from PIL import Image

from tests.webui.conftest import SETTINGS

BUILTIN = SETTINGS | {"base_model_name": "fooocus_mini.safetensors"}
"""Settings for the built-in model, which inpaints without further files."""
REACH = 32
"""Pixels around a mask within which inpainting may change the picture."""
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
    request = "async () => (await import(document.querySelector('script').src.replace('main', 'settings'))).request()"
    told = [(one["cn_type"], one["cn_stop"], one["cn_weight"]) for one in page.evaluate(request)["controlnet_image"]]
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
