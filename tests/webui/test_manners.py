"""Manners: keys are asked for, no view has a fault that axe finds, and the page paints soon."""

from pathlib import Path

import pytest

from fooocus_flask.access import keys
from tests.serving import LASTING, ROOT
from tests.webui.conftest import PHONE, SETTINGS, page_of

AXE = Path(__file__).with_name("vendor") / "axe.min.js"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def violations(page):
    """What axe-core finds, in few words."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("rules => axe.run(document, rules).then((result) => result.violations)", RULES)
    return [(one["id"], node["target"], node["failureSummary"][:300]) for one in found for node in one["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault_in_the_settings(visit, scheme):
    page = visit(color_scheme=scheme)
    page.click("#toggle-settings")
    for tab in ("settings", "styles", "models", "advanced"):
        page.click(f"#settings-tab-{tab}")
        if tab == "advanced":
            page.click(".developer")
            page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
        assert violations(page) == [], tab


def test_axe_finds_no_fault_in_the_pictures(visit):
    page = visit()
    page.click("#toggle-input")
    for tab in ("uov", "ip", "inpaint", "describe", "enhance", "metadata"):
        page.click(f"#input-tab-{tab}")
        place = f"[data-slot={'cn0' if tab == 'ip' else tab}]"
        page.set_input_files(f"{place} input[type=file]", ROOT / "docs/pictures/builtin-sheet.jpg")
        page.wait_for_selector(f"{place}.full")
        page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
        assert violations(page) == [], tab


@pytest.mark.parametrize("viewport", [None, PHONE], ids=["desktop", "phone"])
def test_axe_finds_no_fault_while_drawing_in_the_queue_in_the_gallery_and_in_dialogs(visit, viewport):
    options = {"viewport": viewport} if viewport else {}
    page = visit(settings=SETTINGS | LASTING | {"image_number": 32}, **options)
    for _ in range(2):
        page.click("#generate")
        page.wait_for_function("() => !document.querySelector('#generate').disabled")
    page.wait_for_selector("#preview")
    assert violations(page) == []
    page.click("nav >> text=Queue")
    page.locator(".queue-row").nth(1).wait_for()
    assert violations(page) == []
    for left in (1, 0):
        page.locator(".queue-row .danger").last.click()
        page.wait_for_function(f"() => document.querySelectorAll('.queue-row').length === {left}")
    page.click("nav >> text=Gallery")
    page.wait_for_selector(".card-open")
    assert violations(page) == []
    page.click(".card-open")
    page.wait_for_selector("dialog")
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.get_by_label("Key", exact=True).click()
    page.wait_for_selector("dialog")
    assert violations(page) == []


def test_a_key_is_asked_for_and_its_scopes_decide_what_the_page_offers(visit, make_app, make_server):
    with make_app().app_context():
        looking, drawing = keys.add("looker", ["read"]), keys.add("painter", ["draw"])
    served = make_server().ready()
    page = visit(page_of(served), wait="dialog #key")
    assert page.locator("dialog [role=alert]").count() == 0
    page.fill("#key", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog [role=alert] >> text=does not know this key")
    page.fill("#key", looking)
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog", state="detached")
    page.wait_for_selector("#generate:disabled")
    page.get_by_label("Key: looker").click()
    assert "looker" in page.inner_text("dialog") and "read" in page.inner_text("dialog")
    page.fill("#key", drawing)
    page.keyboard.press("Enter")
    page.wait_for_selector("#generate:enabled")
    page.fill("#prompt", "with a key")
    page.click("#generate")
    page.wait_for_selector(".result img")
    page.wait_for_function("() => document.querySelector('.result img').naturalWidth === 64")
    assert drawing not in page.evaluate("JSON.stringify(localStorage)")
    page.reload()
    page.wait_for_selector("#generate:enabled")


PAINTER = {"json": {"name": "painter", "scopes": ["draw"], "per_minute": 0, "queued": 0}}
REFUSED = {"status": 403, "json": {"detail": "Forbidden"}}


def test_a_refusal_that_comes_before_it_is_known_whose_key_it_is_asks_for_no_other(visit, server):
    held = []
    routes = {"**/whoami": lambda route: held.append(route), "**/tasks?**": lambda route: route.fulfill(**REFUSED)}
    page = visit(f"{page_of(server)}/ui/", routes=routes)
    page.click("nav >> text=Gallery")
    page.wait_for_selector(".notice >> text=Forbidden")
    (whoami,) = held
    whoami.fulfill(**PAINTER)
    page.get_by_label("Key: painter").wait_for()
    assert page.locator("dialog").count() == 0


def test_a_key_that_is_taken_back_is_asked_for_again(visit):
    answers = iter([PAINTER, REFUSED])
    routes = {
        "**/whoami": lambda route: route.fulfill(**next(answers)),
        "**/tasks/events*": lambda route: route.fulfill(**REFUSED),
    }
    page = visit(routes=routes)
    page.wait_for_selector("dialog >> text=This server asks for a key.")


def test_a_refusal_of_the_key_before_asks_for_no_other(visit):
    held = []

    def whoami(route):
        route.fulfill(**PAINTER) if route.request.headers.get("x-api-key") == "another" else held.append(route)

    page = visit(routes={"**/whoami": whoami})
    page.get_by_label("Key", exact=True).click()
    page.fill("#key", "another")
    for press in (lambda: page.keyboard.press("Enter"), lambda: held.pop().fulfill(**REFUSED)):
        with page.expect_request("**/v1/engines/all-models"):  # the page goes on
            press()
    page.get_by_label("Key: painter").wait_for()
    assert page.locator("dialog").count() == 0


def test_a_view_is_opened_where_the_page_is_and_not_loaded_anew(visit, server):
    page = visit(page_of(server))  # at the root, whose files lie below another path
    page.evaluate("() => { window.sameDocument = true; }")
    for link, hash_ in ((".nav-link >> nth=1", "#/gallery"), (".brand", "#/draw")):
        page.click(link)
        page.wait_for_function("hash => location.hash === hash", arg=hash_)
        assert page.evaluate("() => window.sameDocument && location.pathname") == "/"


def test_below_a_prefix_of_a_proxy_all_of_it_works(visit, server):
    outside, inside = "http://studio.example/deep/down", f"http://127.0.0.1:{server.port}"

    def passed_on(route):
        if "/tasks/events" in route.request.url:
            return route.abort()  # this proxy passes no streams on
        headers = {**route.request.headers, "host": "studio.example"}
        return route.fulfill(response=route.fetch(url=route.request.url.replace(outside, inside), headers=headers))

    page = visit(f"{outside}/ui", routes={f"{outside}/**": passed_on})
    page.fill("#prompt", "below a prefix")
    page.click("#generate")
    page.wait_for_selector(f".result img[src^='{outside}/outputs/']")
    page.wait_for_function("() => document.querySelector('.result img').naturalWidth === 64")


def test_a_browser_that_forbids_to_keep_anything_shows_the_page(visit, server):
    page = visit()
    page.add_init_script("""for (const name of ["localStorage", "sessionStorage"])
        Object.defineProperty(window, name, {get() { throw new DOMException("denied", "SecurityError"); }});""")
    page.reload()
    page.wait_for_selector("#generate")
    page.fill("#prompt", "kept nowhere")
    assert page.input_value("#prompt") == "kept nowhere"


def test_of_what_others_drew_an_open_page_keeps_only_what_it_shows(visit, server):
    page = visit()
    page.goto(page_of(server) + "/ping")  # for its stream may be answered just now, and is not the one that hears
    with page.expect_response("**/tasks/events*"):
        page.goto(page_of(server))
    for number in range(2):
        server.draw({"prompt": f"of another {number}"})
    page.evaluate("""async () => {
        const address = document.querySelector("script[type=module]").src.replace("main.js", "tasks.js");
        window.known = await import(address);
    }""")
    page.wait_for_function(
        "() => known.endings.value >= 2 && Object.keys(known.tasks.value).join() === known.shownId.value"
    )


def test_it_paints_soon(visit):
    page = visit()
    page.reload()
    page.wait_for_selector("#generate")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    loaded = page.evaluate("performance.getEntriesByType('resource').reduce((sum, one) => sum + one.transferSize, 0)")
    print(f"first paint after {paint:.0f} ms; {loaded} bytes came")
    assert paint > 0
