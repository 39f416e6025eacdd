"""Drawing on the page: one prompt, one button; what is under way outlives a reload, and every tab sees it."""

import pytest

from tests.webui.conftest import PHONE, SETTINGS, page_of, second_tab

LONG = SETTINGS | {"overwrite_step": 200, "aspect_ratios_selection": "128*128"}


def prompt_of(server, page):
    """What the server knows of the task that the page shows."""
    task_id = page.evaluate("JSON.parse(localStorage['fooocus.shown'])")
    return server.get(f"/tasks/{task_id}").json


def test_a_prompt_and_a_press_of_the_button_draw(visit, server):
    page = visit()
    page.fill("#prompt", "a cat on the page")
    page.click("#generate")
    picture = page.wait_for_selector(".result img")
    page.wait_for_function("image => image.naturalWidth === 64", arg=picture)
    assert prompt_of(server, page)["req_params"]["prompt"] == "a cat on the page"
    page.wait_for_function("() => document.getElementById('live').textContent.includes('1 picture')")


def test_it_draws_by_keyboard_alone(visit, server):
    page = visit()
    page.keyboard.press("Tab")  # the link to the prompt
    page.keyboard.press("Enter")
    page.keyboard.type("a dog by keyboard")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".result img")
    assert prompt_of(server, page)["req_params"]["prompt"] == "a dog by keyboard"


def test_preview_and_progress_are_shown_and_stop_ends_it(visit, server):
    page = visit(settings=LONG)
    page.fill("#prompt", "a long one")
    page.click("#generate")
    page.wait_for_selector("#preview")
    page.wait_for_function("() => document.querySelector('[role=progressbar]').ariaValueNow > 0")
    page.wait_for_function("() => document.title.includes('%')")
    page.click("#stop")
    page.wait_for_selector("text=Stopped")
    assert prompt_of(server, page)["task_status"] == "stop"


def test_two_wait_and_one_is_cancelled_and_one_moved_forward(visit, server):
    page = visit(settings=LONG)
    for words in ("first of three", "second of three", "third of three"):
        page.fill("#prompt", words)
        page.click("#generate")
        page.wait_for_function("() => !document.querySelector('#generate').disabled")
    page.click("nav >> text=Queue")
    rows = page.locator(".queue-row")
    rows.nth(2).wait_for()
    assert [rows.nth(at).locator(".queue-prompt").inner_text() for at in range(3)] == [
        "first of three",
        "second of three",
        "third of three",
    ]
    rows.nth(2).get_by_label("Move forward").click()
    page.wait_for_function("() => document.querySelectorAll('.queue-prompt')[1].textContent === 'third of three'")
    rows.nth(2).get_by_text("Cancel").click()
    page.wait_for_function("() => document.querySelectorAll('.queue-row').length === 2")
    cancelled = server.get("/tasks?query=history&prompt=second+of+three").json["history"][0]
    assert cancelled["task_status"] == "stop" and cancelled["pictures_done"] == 0
    for _ in range(2):
        page.locator(".queue-row").first.get_by_role("button", name="Stop").click()
        page.wait_for_function("() => document.querySelectorAll('.queue-row').length < 2")
    page.wait_for_selector("text=Nothing waits")


def test_a_reload_and_a_second_tab_find_what_is_drawn(visit):
    page = visit(settings=LONG)
    page.fill("#prompt", "still there")
    page.click("#generate")
    page.wait_for_selector("#preview")
    page.reload()
    page.wait_for_selector("#preview")
    tab = second_tab(page)
    tab.wait_for_selector("#preview")
    assert tab.input_value("#prompt") == "still there"
    page.click("#stop")
    tab.wait_for_selector("text=Stopped")


def test_what_the_server_refuses_stands_beside_its_field(visit):
    page = visit(settings=SETTINGS | {"clip_skip": 99})
    page.click("#generate")
    page.wait_for_selector(".notice.error >> text=CLIP skip")
    assert "less than or equal to" in page.inner_text("[data-member=clip_skip] .fault")
    page.wait_for_function("() => document.activeElement.id === 'f-clip_skip'")
    assert page.get_attribute("#f-clip_skip", "aria-describedby") == "f-clip_skip-fault"


def test_a_server_that_asks_for_time_is_given_it(visit):
    page = visit()
    answers = iter([(429, "3"), (503, "1")])

    def busy(route):
        status, seconds = next(answers, (0, ""))
        if not status:
            return route.continue_()
        return route.fulfill(status=status, headers={"Retry-After": seconds}, json={"detail": "too many"})

    page.route("**/v1/engine/generate/", busy)
    page.fill("#prompt", "patience")
    page.click("#generate")
    page.wait_for_selector("#generate >> text=In 3 s")
    page.wait_for_selector(".result img")


@pytest.mark.parametrize("panels", [(), ("#toggle-settings",), ("#toggle-input",)])
def test_on_a_phone_generate_is_in_view(visit, panels):
    page = visit(viewport=PHONE, has_touch=True)
    for panel in panels:
        page.click(panel)
    box = page.locator("#generate").bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= PHONE["height"] and box["x"] + box["width"] <= PHONE["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.locator("#generate").click(trial=True)


def test_it_speaks_chinese(visit):
    page = visit(locale="zh-CN")
    assert page.inner_text("#generate") == "生成" and page.get_attribute("html", "lang") == "zh-CN"
    assert page.inner_text(".summary").endswith("1 张")
    page.select_option(".language", "en")
    page.wait_for_selector("#generate >> text=Generate")


def test_progress_is_told_in_the_page_s_language_once_and_without_false_precision(visit):
    page = visit(settings=LONG | {"image_number": 2}, locale="zh-CN")
    page.fill("#prompt", "a long one in Chinese")
    page.click("#generate")
    page.wait_for_function(
        "() => /^第 [0-9]+ 步，共 200 步 · 第 1 张，共 2 张( · 约剩 [0-9]+ (秒|分钟))?$/.test("
        "document.querySelector('.progress-words')?.textContent)"
    )
    page.click("#stop")
    page.wait_for_selector("#stop", state="detached")


def test_a_server_that_was_started_again_is_found_again(visit, make_server):
    served = make_server().ready()
    url = page_of(served)
    page = visit(url)
    served.stop()
    page.wait_for_selector(".offline")
    served.command = [*served.command, "--port", url.rpartition(":")[2]]
    served.start()
    page.wait_for_selector(".offline", state="detached")
    page.fill("#prompt", "after the restart")
    page.click("#generate")
    page.wait_for_selector(".result img")
