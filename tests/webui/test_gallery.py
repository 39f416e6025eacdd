"""The gallery: any number of tasks, of which only those in view exist; looked at, used again, packed, deleted."""

import io
import zipfile

import pytest

from tests.webui.conftest import PHONE, page_of, touch
from tests.webui.scrolling import many_tasks, measured_frames

MANY = 10_000


@pytest.fixture
def gallery(visit, server):
    """The gallery of what a script has drawn: three tasks, one of two pictures."""
    for number, count in enumerate((1, 2, 1)):
        server.draw({"prompt": f"gallery {number}", "image_number": count})
    page = visit(page_of(server) + "/#/gallery", wait=".card-open")
    page.fill("[aria-label='Search prompts']", "gallery")
    page.wait_for_function("() => /^\\d+ tasks$/.test(document.querySelector('.gallery-bar .hint').textContent)")
    page.wait_for_selector(".card-words:text-is('gallery 2')")
    return page


def test_a_request_s_pictures_are_shown_among_its_parameters(visit, server):
    first = server.draw({}).json["result"][0]
    drawn = server.draw({"prompt": "drawn over", "uov_input_image": first, "uov_method": "Vary (Subtle)"}).json
    page = visit(page_of(server) + "/#/gallery", wait=".card-open")
    page.fill("[aria-label='Search prompts']", "drawn over")
    page.click(".card:has(.card-words:text-is('drawn over')) .card-open")
    shown = page.wait_for_selector("dialog .parameters img")
    assert drawn["req_params"]["uov_input_image"].rpartition("/")[2] in shown.get_attribute("src")
    page.wait_for_function("image => image.naturalWidth > 0", arg=shown)
    assert "/inputs/" not in page.inner_text("dialog .parameters")


def test_a_picture_is_looked_at_large_with_its_parameters_and_the_next_by_key(gallery):
    gallery.click(".card-open >> nth=1")
    gallery.wait_for_selector("dialog >> text=Picture 1 of 2")
    assert "gallery 1" in gallery.inner_text("dialog .parameters")
    gallery.keyboard.press("ArrowRight")
    gallery.wait_for_selector("dialog >> text=Picture 2 of 2")
    gallery.keyboard.press("ArrowRight")
    gallery.wait_for_selector("dialog .parameters >> text=gallery 0")
    gallery.keyboard.press("Escape")
    gallery.wait_for_selector("dialog", state="detached")
    assert gallery.evaluate("document.activeElement.className") == "card-open"


def test_a_task_s_webhooks_are_listed_and_sent_again(visit, make_server, receiver):
    receiver.answers = [500, 200]
    server = make_server(FOOOCUS_ALLOW_PRIVATE_ADDRESSES="true", FOOOCUS_WEBHOOK_DELAYS="[3600]").ready()
    server.draw({"webhook_url": receiver.url})
    receiver.take()
    page = visit(page_of(server) + "/#/gallery", wait=".card-open")
    page.click(".card-open")
    page.click("dialog >> text=Webhooks")
    page.wait_for_selector(f"dialog td >> text={receiver.url}")
    page.click("dialog td button")
    receiver.take()


def test_marking_words_beside_a_picture_leads_to_no_other(gallery):
    gallery.click(".card-open >> nth=1")
    gallery.wait_for_selector("dialog >> text=Picture 1 of 2")
    gallery.keyboard.press("ArrowRight")
    gallery.wait_for_selector("dialog >> text=Picture 2 of 2")
    beside = gallery.locator("dialog .parameters").bounding_box()
    picture = gallery.locator("dialog .lightbox-picture").bounding_box()
    gallery.mouse.move(beside["x"] + 20, beside["y"] + 10)
    gallery.mouse.down()
    gallery.mouse.move(picture["x"] + picture["width"] / 2, picture["y"] + 40, steps=3)
    gallery.mouse.up()
    assert gallery.inner_text("dialog h2") == "Picture 2 of 2"


def test_of_a_picture_that_is_gone_nothing_is_saved(gallery, server):
    gallery.click(".card-open >> nth=0")
    gallery.wait_for_selector("dialog >> text=Picture 1 of 1")
    (task,) = server.get("/tasks?query=history&prompt=gallery+2&page_size=1").json["history"]
    assert server.ask("DELETE", f"/tasks/{task['task_id']}").status == 200
    gallery.click("dialog >> text=Download")
    gallery.wait_for_selector(".notice.error")


def test_its_settings_are_used_again(gallery, server):
    gallery.click(".card-open >> nth=0")
    gallery.click("dialog >> text=Use these settings")
    gallery.wait_for_selector("#generate")
    assert gallery.input_value("#prompt") == "gallery 2"
    gallery.click("#generate")
    gallery.wait_for_selector(".result img")
    first, second = (
        task["req_params"] for task in server.get("/tasks?query=history&prompt=gallery+2&page_size=2").json["history"]
    )
    assert {**first, "async_process": False} == {**second, "async_process": False}


def test_chosen_ones_are_packed_and_deleted_once_that_is_confirmed(gallery, server):
    for at in range(2):
        gallery.locator(".card-pick").nth(at).check()
    with gallery.expect_download() as downloading:
        gallery.click("text=Download as ZIP")
    with zipfile.ZipFile(io.BytesIO(downloading.value.path().read_bytes())) as packed:
        assert packed.testzip() is None and len(packed.namelist()) == 3
        assert all(packed.read(name).startswith(b"\x89PNG") for name in packed.namelist())
    gallery.click(".selection >> text=Delete")
    gallery.click("dialog >> text=Cancel")
    gallery.click(".selection >> text=Delete")
    gallery.click("dialog button.danger")
    gallery.wait_for_selector("text=2 tasks deleted")
    left = {task["req_params"]["prompt"] for task in server.get("/tasks?query=history&prompt=gallery").json["history"]}
    assert "gallery 0" in left


def test_what_is_gone_already_does_not_keep_the_others_from_being_deleted(gallery, server):
    for at in range(2):
        gallery.locator(".card-pick").nth(at).check()
    newest, other = server.get("/tasks?query=history&prompt=gallery&page_size=2").json["history"]
    assert server.ask("DELETE", f"/tasks/{newest['task_id']}").status == 200
    gallery.click(".selection >> text=Delete")
    gallery.click("dialog button.danger")
    gallery.wait_for_selector("text=2 tasks deleted")
    assert server.get(f"/tasks/{other['task_id']}").status == 404


def test_it_is_swiped_on_a_phone(visit, server):
    server.draw({"prompt": "swiped", "image_number": 2})
    page = visit(page_of(server) + "/#/gallery", wait=".card-open", viewport=PHONE, has_touch=True)
    page.locator(".card-open").first.tap()
    page.wait_for_selector("dialog >> text=Picture 1 of 2")
    box = page.locator("dialog .lightbox-picture").bounding_box()
    session, y = page.context.new_cdp_session(page), box["y"] + 40
    touch(session, "touchStart", (box["x"] + 250, y))
    for across in (220, 160, 100):
        touch(session, "touchMove", (box["x"] + across, y))
    touch(session, "touchEnd")
    page.wait_for_selector("dialog >> text=Picture 2 of 2")


@pytest.mark.sqlite("rows are written into its file")
def test_ten_thousand_tasks_scroll(visit, server):
    with many_tasks(server, MANY):
        page = visit(page_of(server) + "/#/gallery", wait=".card-open")
        total = int(page.inner_text(".gallery-bar .hint").split()[0])
        assert total > MANY
        assert page.locator(".card").count() < 100
        assert len(measured_frames(page, 30)) == 30
        page.evaluate("document.querySelector('.grid-box').scrollTop = 1e9")
        page.wait_for_selector(f"[aria-posinset='{total}'] .card-open")
        assert page.locator(".card").count() < 100
