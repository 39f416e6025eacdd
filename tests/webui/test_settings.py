"""The settings: all of a request's members are reachable; they outlive a reload, and leave and come as JSON."""

import json
import subprocess

import numpy
import pytest
from PIL import Image

from tests.serving import ROOT
from tests.webui.conftest import SETTINGS

OF_THE_PAGE = {"image"}
INPUT_TABS = ("uov", "ip", "inpaint", "describe", "enhance", "metadata")
SETTINGS_TABS = ("settings", "styles", "models", "advanced")


def shown_members(page):
    """The members whose controls are on the page now."""
    return set(
        " ".join(page.eval_on_selector_all("[data-member]", "all => all.map(one => one.dataset.member)")).split()
    )


def settings_open(page, tab="settings"):
    """The settings panel at this tab."""
    page.click("#toggle-settings")
    page.click(f"#settings-tab-{tab}")


def kept(page):
    """The settings that the browser keeps."""
    return json.loads(page.evaluate("localStorage['fooocus.settings']"))


def test_every_member_of_a_request_is_reachable(visit, server):
    page = visit()
    found = shown_members(page)
    settings_open(page)
    for tab in SETTINGS_TABS:
        page.click(f"#settings-tab-{tab}")
        if tab == "advanced":
            page.click(".developer")
        found |= shown_members(page)
    page.click("#settings-tab-settings")
    page.click("text=Copy as")
    page.wait_for_selector("dialog[open]")
    found |= shown_members(page)
    page.keyboard.press("Escape")
    page.click("#toggle-input")
    for tab in INPUT_TABS:
        page.click(f"#input-tab-{tab}")
        found |= shown_members(page)
    schemas = server.get("/openapi.json").json["components"]["schemas"]
    expected = set(schemas["Submission"]["properties"])
    expected |= {f"loras.{name}" for name in schemas["Lora"]["properties"]}
    expected |= {f"controlnet_image.{name}" for name in schemas["ImagePrompt"]["properties"]}
    expected |= {f"enhance_ctrls.0.{name}" for name in schemas["EnhanceStep"]["properties"]}
    assert expected - found == set()


def test_what_is_set_outlives_a_reload_and_is_what_the_server_gets(visit, server):
    page = visit()
    settings_open(page)
    page.click(".chip:text-is('Lightning')")
    page.fill("#f-negative_prompt", "rain")
    page.click("#settings-tab-styles")
    page.fill("#f-style_selections", "sai anime")
    page.click(".style >> text=SAI Anime")
    page.click("#settings-tab-advanced")
    page.locator("[data-member=sharpness] input[type=number]").fill("7.5")
    page.locator("[data-member=sharpness] input[type=number]").press("Enter")
    page.reload()
    page.wait_for_selector("[data-member=sharpness]")
    assert page.input_value("[data-member=sharpness] input[type=number]") == "7.5"
    page.click("#settings-tab-settings")
    assert page.get_attribute(".chip:text-is('Lightning')", "aria-pressed") == "true"
    page.click(".chip:text-is('Speed')")
    page.fill("#prompt", "settings that stay")
    page.click("#generate")
    page.wait_for_selector(".result img")
    params = server.get("/tasks?query=history&prompt=settings+that+stay").json["history"][0]["req_params"]
    assert (params["sharpness"], params["negative_prompt"]) == (7.5, "rain")
    assert params["style_selections"] == ["SAI Anime"]


def test_a_preset_of_ones_own_brings_its_settings_back(visit):
    page = visit()
    settings_open(page)
    page.fill("#f-negative_prompt", "fog")
    page.click("text=Save as")
    page.fill("[aria-label='Name of the preset']", "mine")
    page.keyboard.press("Enter")
    page.click("button >> text=Reset")
    page.click("dialog >> text=Reset")
    assert page.input_value("#f-negative_prompt") == "" and "base_model_name" not in kept(page)
    page.select_option("#f-preset", "own:mine")
    assert page.input_value("#f-negative_prompt") == "fog"
    assert kept(page)["base_model_name"] == SETTINGS["base_model_name"]


def test_settings_leave_and_come_as_the_json_that_a_script_posts(visit, server, tmp_path):
    page = visit()
    settings_open(page)
    page.fill("#prompt", "as a file")
    with page.expect_download() as downloading:
        page.click("button >> text=Export")
    path = tmp_path / "settings.json"
    downloading.value.save_as(path)
    sent = json.loads(path.read_text("utf-8"))
    assert sent == SETTINGS | {"prompt": "as a file"}
    assert server.ask("POST", "/v1/engine/generate/", sent).status == 200
    path.write_text(json.dumps(sent | {"sharpness": 3.5, "prompt": "from a file"}))
    page.set_input_files("input[accept*=json]", path)
    page.wait_for_function("() => document.querySelector('#prompt').value === 'from a file'")
    assert kept(page)["sharpness"] == 3.5


def test_members_of_the_wrong_shape_are_left_out_of_a_file(visit, tmp_path):
    page = visit()
    settings_open(page, "styles")
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"prompt": "of a strange file", "style_selections": "SAI Anime", "loras": {}}))
    page.click("#settings-tab-settings")
    page.set_input_files("input[accept*=json]", path)
    page.wait_for_function("() => document.querySelector('#prompt').value === 'of a strange file'")
    page.click("#settings-tab-styles")
    page.reload()
    page.wait_for_selector(".style")
    assert kept(page) == {"prompt": "of a strange file"}


@pytest.mark.parametrize("kind", ["async_process", "stream_output"])
def test_the_request_is_copied_as_a_command_and_as_a_program_that_work(visit, server, kind):
    page = visit()
    page.fill("#prompt", "it's a 'copy'")
    settings_open(page)
    page.click("text=Copy as")
    page.select_option("#copy-kind", kind)
    page.click("#copy-json")
    body = json.loads(page.inner_text(".code"))
    assert body == SETTINGS | {"prompt": "it's a 'copy'", kind: True}
    page.click("#copy-python")
    program = page.inner_text(".code")
    assert eval(program.split("body = ")[1].split("\nanswer")[0]) == body
    page.click("#copy-curl")
    assert "it'\\''s a '\\''copy'\\''" in page.inner_text(".code")


def test_the_seed_of_the_last_picture_is_reused_and_random_again(visit, server):
    page = visit(settings={name: value for name, value in SETTINGS.items() if name != "image_seed"})
    page.fill("#prompt", "a seed")
    page.click("#generate")
    page.wait_for_selector(".result img")
    settings_open(page)
    page.get_by_label("Reuse the last seed").click()
    seed = server.get("/tasks?query=history&page_size=1").json["history"][0]["seed"]
    assert page.input_value("#f-image_seed") == seed and kept(page)["image_seed"] == seed
    page.get_by_label("Keep the seed").click()
    page.get_by_label("The seed is kept").click()
    assert page.input_value("#f-image_seed") == ""


def test_what_a_prompt_may_name_offers_itself_while_one_types(visit):
    page = visit()
    page.click("#prompt")
    page.keyboard.type("a __col")
    page.wait_for_selector("#suggestions li >> text=__color__")
    page.keyboard.press("Enter")
    assert page.input_value("#prompt") == "a __color__"
    page.fill("#prompt", "")
    page.keyboard.type("a cat [[")
    page.wait_for_selector("#suggestions li")
    page.keyboard.press("Tab")
    assert page.input_value("#prompt").startswith("a cat [[red, green, blue]]")


def test_what_a_prompt_may_name_offers_itself_once_the_lists_come(visit):
    held = []
    page = visit(routes={"**/v1/engines/wildcards": lambda route: held.append(route)})
    page.click("#prompt")
    page.keyboard.type("a __col")
    while not held:
        page.wait_for_timeout(20)
    held[0].continue_()
    page.wait_for_selector("#suggestions li >> text=__color__")


@pytest.mark.parametrize(
    "text",
    [
        "a fox\nNegative prompt: blurry\nSteps: 9, Sampler: Euler, CFG scale: 5, Seed: 31, Size: 512x768",
        json.dumps({"prompt": "a fox", "negative_prompt": "blurry", "seed": "31", "guidance_scale": 5}),
    ],
    ids=["a1111", "fooocus"],
)
def test_pasted_parameters_are_offered_to_be_applied(visit, text):
    page = visit()
    page.evaluate(
        """text => {
            const data = new DataTransfer();
            data.setData("text/plain", text);
            const pasted = new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
            document.querySelector("#prompt").dispatchEvent(pasted);
        }""",
        text,
    )
    page.click(".offer >> text=Apply")
    page.wait_for_function("() => document.querySelector('#prompt').value === 'a fox'")
    found = kept(page)
    assert str(found["image_seed"]) == "31" and found["guidance_scale"] == 5 and found["negative_prompt"] == "blurry"


SPRITES = """() => [...new Set(performance.getEntriesByType("resource").map((one) => one.name)
    .filter((name) => name.endsWith(".webp")).map((name) => name.split("/").pop()))]"""
"""The sprites that were fetched."""


def test_styles_show_samples_and_a_group_is_fetched_when_it_comes_into_view(visit):
    page = visit()
    settings_open(page, "styles")
    page.wait_for_function(f"() => ({SPRITES})().includes('fooocus.webp')")
    before = page.evaluate(SPRITES)
    assert "diva.webp" not in before
    page.locator(".style").last.scroll_into_view_if_needed()
    page.wait_for_function(f"(before) => ({SPRITES})().length > before", arg=len(before))
    page.fill("#f-style_selections", "sai line art")
    shown = page.evaluate(
        """async () => {
            const style = getComputedStyle(document.querySelector(".sample"));
            const address = /"(.+)"/.exec(style.backgroundImage)[1];
            const sprite = await createImageBitmap(await (await fetch(address)).blob());
            const [columns, rows] = style.backgroundSize.split(" ").map((one) => parseFloat(one) / 100);
            return [sprite.width / columns, sprite.height / rows];
        }"""
    )
    assert shown == [128, 128]


def test_a_style_without_a_sample_shows_its_first_letter(visit):
    page = visit(routes={"**/v1/engines/styles": lambda route: route.fulfill(json=["__proto__", "👩 Emoji"])})
    settings_open(page, "styles")
    for words, letter in (("proto", "_"), ("emoji", "👩")):
        page.fill("#f-style_selections", words)
        page.wait_for_selector(f".sample:text-is('{letter}')")


def test_every_shipped_style_has_a_sample(server):
    index = json.loads((ROOT / "blueprints/webui/static/styles/index.json").read_text("utf-8"))
    sampled = [name for names in index["groups"].values() for name in names]
    assert sorted(sampled) == sorted(server.get("/v1/engines/styles").json)


def test_help_is_shown_on_demand_in_the_language_of_the_page(visit):
    page = visit(locale="zh-CN")
    settings_open(page)
    page.click("[data-member=negative_prompt] .help-button")
    assert "画面中不要出现" in page.inner_text("[data-member=negative_prompt] .help")
    assert page.get_attribute("#f-negative_prompt", "aria-describedby") == "f-negative_prompt-help"
    page.select_option(".language", "en")
    page.wait_for_selector("[data-member=negative_prompt] .help >> text=What to keep out")


def test_a_request_with_a_large_picture_is_copied_as_a_command_that_works(visit, server, tmp_path):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.fill("#prompt", "it's a 'copied' $picture `here`")
    page.click("#toggle-input")
    page.click("#input-tab-uov")
    pixels = numpy.random.default_rng(7).integers(0, 256, (300, 300, 3), numpy.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    page.set_input_files("[data-slot=uov] input[type=file]", tmp_path / "noise.png")
    page.wait_for_selector("[data-slot=uov].full")
    page.click("text=Vary (Subtle)")
    settings_open(page)
    page.click("text=Copy as")
    assert len(page.inner_text(".code")) < 2000
    page.click("dialog .primary")
    page.wait_for_selector("text=Copied.")
    command = page.evaluate("navigator.clipboard.readText()")
    assert len(command) > 200_000
    answer = subprocess.run(["bash", "-s"], input=command, capture_output=True, text=True)
    record = json.loads(answer.stdout)
    assert record["task_status"] == "finished", answer.stderr
    assert record["req_params"]["prompt"] == "it's a 'copied' $picture `here`"
    sent = server.get("/inputs/" + record["req_params"]["uov_input_image"].rpartition("/")[2])
    assert sent.body == (tmp_path / "noise.png").read_bytes()
