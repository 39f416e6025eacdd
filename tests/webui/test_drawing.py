"""Drawing on the page: one prompt, one button; what is under way outlives a reload, and every tab sees it."""

import io
import resource
import shutil
import subprocess
from pathlib import Path

import numpy
import pytest
from PIL import Image

from tests.serving import LASTING, LAUNCHER, Server, engines
from tests.webui.conftest import PHONE, SETTINGS, page_of, second_tab

IN_A_SMALL_ROOM = [
    *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c"),
    'mkdir -p "$FOOOCUS_INSTANCE/inputs" && mount -t tmpfs -o size=64k tmpfs "$FOOOCUS_INSTANCE/inputs" && exec "$@"',
    *("sh", *LAUNCHER),
]
"""Starts a server whose folder of inputs is a disk of 64 kB, seen by it alone."""
LONG = SETTINGS | LASTING | {"image_number": 32}


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
    page = visit(settings=LONG, locale="zh-CN")
    page.fill("#prompt", "a long one in Chinese")
    page.click("#generate")
    page.wait_for_function(
        "() => /^第 [0-9]+ 步，共 200 步 · 第 [0-9]+ 张，共 32 张( · 约剩 [0-9]+ (秒|分钟))?$/.test("
        "document.querySelector('.progress-words')?.textContent)"
    )
    page.click("#stop")
    page.wait_for_selector("#stop", state="detached")


def test_the_length_of_the_prompt_is_told_while_one_types(visit):
    page = visit()
    page.click("#prompt")
    page.keyboard.type("a (very fluffy:1.2) cat <lora:detail:0.8>")
    page.wait_for_selector("#prompt-length:text-is('4 tokens')")
    page.fill("#prompt", "cat " * 80)
    page.wait_for_selector("#prompt-length:text-is('80 tokens · 2 chunks')")
    page.fill("#prompt", "")
    page.wait_for_selector("#prompt-length", state="hidden")


def test_an_answer_that_comes_after_the_prompt_was_emptied_is_not_shown(visit):
    late = []
    page = visit(routes={"**/v1/tools/count-tokens": lambda route: late.append(route)})
    page.click("#prompt")
    with page.expect_request("**/v1/tools/count-tokens"):
        page.keyboard.type("a cat")
    page.fill("#prompt", "")
    with page.expect_response("**/v1/tools/count-tokens") as answer:
        late.pop().continue_()
    answer.value.finished()
    page.wait_for_timeout(200)
    assert page.locator("#prompt-length").is_hidden()


@pytest.fixture(scope="module")
def served(tmp_path_factory, models, database):
    """A server that counts requests, on a machine without room for inputs; each test leaves it well."""
    command = IN_A_SMALL_ROOM if can_mount() else LAUNCHER
    server = Server(tmp_path_factory.mktemp("served"), models, command, FOOOCUS_REQUESTS_PER_MINUTE="600")
    yield server.ready()
    server.stop()


def test_where_requests_are_counted_the_length_is_asked_for_rarely(visit, served):
    asked = []
    page = visit(page_of(served))
    page.on("request", lambda request: asked.append(request.url) if "count-tokens" in request.url else None)
    page.click("#prompt")
    page.keyboard.type("one letter after the other", delay=20)
    page.wait_for_selector("#prompt-length:text-is('5 tokens')")
    assert len(asked) == 1


def noise(side):
    """A picture that no format makes small."""
    out = io.BytesIO()
    pixels = numpy.random.default_rng(7).integers(0, 256, (side, side, 3), numpy.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def can_mount():
    """Whether this machine lets a program have a disk of its own."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


def test_a_full_disk_is_told_with_what_would_help_and_drawing_goes_on(visit, served):
    if not can_mount():
        pytest.skip("this machine gives no program a mount namespace of its own, which stands for a full disk")
    page = visit(page_of(served), settings=SETTINGS | {"uov_method": "Vary (Subtle)"})
    page.click("#toggle-input")
    file = {"name": "noise.png", "mimeType": "image/png", "buffer": noise(256)}
    page.set_input_files("[data-slot=uov] input[type=file]", file)
    page.wait_for_selector("[data-slot=uov].full")
    with page.expect_response("**/v1/engine/generate/") as answering:
        page.click("#generate")
    assert answering.value.status == 507
    page.wait_for_selector(".notice.error >> text=free some space")
    page.click("#toggle-input")  # without the picture there is room
    page.click("#generate")
    page.wait_for_selector(".result img")


def test_too_little_memory_is_told_with_what_would_fit(visit, served):
    served.draw()
    (engine,) = engines(served.process.pid)
    pages = int(Path(f"/proc/{engine}/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + (64 << 20)
    limits = resource.prlimit(engine, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    page = visit(page_of(served), settings=SETTINGS | {"aspect_ratios_selection": "2048*2048"})
    page.click("#generate")
    page.wait_for_selector(".stage .fault.big >> text=a smaller picture would help")
    resource.prlimit(engine, resource.RLIMIT_AS, limits)


def test_a_server_that_was_started_again_is_found_again(visit, served):
    url = page_of(served)
    page = visit(url)
    served.stop()
    page.wait_for_selector(".offline")
    served.command = [*served.command, "--port", url.rpartition(":")[2]]
    served.start()
    page.wait_for_selector(".offline", state="detached")
    served.ready()
    page.fill("#prompt", "after the restart")
    page.click("#generate")
    page.wait_for_selector(".result img")


def test_files_that_a_task_waits_for_fill_the_same_bar(visit):
    page = visit()
    filled = page.evaluate(
        """async () => {
            const {percent} = await import(document.querySelector("script").src.replace("main", "progress"));
            const task = {task_status: "pending", downloads: [{file: "a", bytes_done: 0, bytes_total: 100}]};
            const queue = {downloads: [{file: "a", bytes_done: 25, bytes_total: 100}]};
            return [percent(task, queue), percent({...task, downloads: []}, queue)];
        }"""
    )
    assert filled == [25, 0]
