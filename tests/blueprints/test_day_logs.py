"""The page of a day's pictures, made of the tasks' rows."""

import datetime as dt
import json
import re
import time
from urllib.parse import unquote, urlsplit

import pytest

from engine.choices import BUILTIN_CHECKPOINT
from fooocus_flask.access import keys
from fooocus_flask.database import db
from fooocus_flask.tasks import day_log, queue
from tests.conftest import picture

pytestmark = [pytest.mark.sql("tasks/day_log"), pytest.mark.pictures]

NOON = dt.datetime(2024, 7, 5, 12).astimezone()
LOG = "/outputs/2024-07-05/log.html"


def drawn(add, hours=0.0, status="finished", **columns):
    """A task that was begun so many hours after noon, and took a minute."""
    begun = NOON + dt.timedelta(hours=hours)
    ago = (dt.datetime.now().astimezone() - begun).total_seconds() / 3600
    return add(status, hours_ago=ago, **columns)


def shown(page):
    """The names and URLs of the pictures on a page, in its order, and what each was drawn with."""
    pictures = re.findall(r'<img src="([^"]+)"', page)
    told = [json.loads(unquote(text)) for text in re.findall(r'data-metadata="([^"]+)"', page)]
    return [url.replace("&amp;", "&") for url in pictures], told


def test_a_day_s_page_shows_its_pictures_with_how_each_was_drawn(client, add):
    late = drawn(add, 11.9, pictures=2, params={"prompt": "<b>cats</b> & dogs", "image_number": 2, "image_seed": 7})
    early = drawn(add, -11.9, pictures=1)
    drawn(add, 12.1, pictures=1)
    drawn(add, -12.1, pictures=1)
    drawn(add, 0.0)
    answer = client.get(LOG)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    urls, told = shown(answer.text)
    assert [urlsplit(url).path.rpartition("/")[2] for url in urls] == [
        f"{early}-0.png",
        f"{late}-0.png",
        f"{late}-1.png",
    ]
    assert [client.get(url).mimetype for url in urls] == ["image/png"] * 3
    assert [values["seed"] for values in told[1:]] == ["7", "8"]
    assert told[1]["prompt"] == "<b>cats</b> & dogs"
    assert "<b>cats" not in answer.text and "&lt;b&gt;cats" in answer.text
    assert "script-src 'unsafe-inline'" in answer.headers["Content-Security-Policy"]


def test_a_picture_of_a_task_under_way_and_of_one_of_another_version_are_shown(app, client, add):
    moment = int(NOON.timestamp() * 1000)
    running = {"start_mills": moment, "pictures_done": 1, "result": [picture(app, "now.png")]}
    drawn(add, status="running", **running)
    old = drawn(add, 1.0, pictures=1)
    with app.app_context():
        task = queue.find(old)
        task.req_params = {"prompt": "long ago"}
        db.session.commit()
    urls, told = shown(client.get(LOG).text)
    assert ["now.png" in url for url in urls] == [True, False]
    assert told[1] == {"prompt": "long ago"}


def test_a_picture_of_a_performance_that_there_is_no_more_is_shown_with_its_prompt(app, client, add):
    task_id = drawn(add, pictures=1)
    with app.app_context():
        task = queue.find(task_id)
        task.req_params = task.req_params | {"prompt": "long ago", "performance_selection": "Eternal"}
        db.session.commit()
    assert shown(client.get(LOG).text)[1] == [{"prompt": "long ago"}]


def test_a_fast_mode_is_told_with_the_sampler_and_the_guidance_that_it_drew_with(client, add):
    lora = {"enabled": True, "model_name": "None", "weight": 0.5}
    params = {"base_model_name": BUILTIN_CHECKPOINT, "performance_selection": "Extreme Speed", "guidance_scale": 7.0}
    drawn(add, pictures=1, params=params | {"loras": [lora]})
    [values] = shown(client.get(LOG).text)[1]
    assert {key: values[key] for key in ("sampler", "scheduler", "guidance_scale", "sharpness", "steps")} == {
        "sampler": "lcm",
        "scheduler": "lcm",
        "guidance_scale": 1.0,
        "sharpness": 0.0,
        "steps": 2,
    }
    assert values["lora_combined_1"].endswith("safetensors : 1.0")


def test_a_seed_is_told_only_where_it_is_the_picture_s_own(client, add):
    drawn(add, pictures=1, params={"image_number": 2, "image_seed": 7})  # one of them was skipped
    drawn(add, 1.0, pictures=2, params={"image_number": 1, "image_seed": 7, "disable_seed_increment": True})
    _, told = shown(client.get(LOG).text)
    assert [values.get("seed") for values in told] == [None, "7", "7"]


@pytest.fixture
def in_berlin(monkeypatch):
    """The machine's clock is put forward and back there."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("day", [dt.date(2024, 3, 31), dt.date(2024, 10, 27)])
def test_a_day_on_which_the_clock_is_put_forward_or_back_ends_at_midnight(app, add, in_berlin, day):
    def begun(moment):
        return add("finished", hours_ago=(time.time() - moment.timestamp()) / 3600, pictures=1)

    midnight = dt.datetime.combine(day + dt.timedelta(days=1), dt.time())
    last, next_first = (begun(midnight + dt.timedelta(minutes=minutes)) for minutes in (-30, 30))
    with app.app_context():
        pages = ["".join(day_log.page(day + dt.timedelta(days=days), "")) for days in range(2)]
    assert [(last in page, next_first in page) for page in pages] == [(True, False), (False, True)]


def test_no_connection_of_the_database_is_held_while_a_client_takes_its_time(app, add):
    drawn(add, pictures=1)
    with app.app_context():
        held = [db.session.registry.has() for _ in day_log.page(NOON.date(), "")]
    assert held == [False, False]


@pytest.mark.parametrize("day", ["2024-7-5", "20240705", "0001-01-01", "9999-12-31", "today", "2024-02-30"])
def test_what_is_no_day_has_no_page(client, day):
    assert client.get(f"/outputs/{day}/log.html").status_code == 404


def test_no_page_is_made_where_none_is_wanted(make_app):
    assert make_app(DISABLE_IMAGE_LOG=True).test_client().get(LOG).status_code == 404


def test_a_page_needs_a_key_that_may_read_and_its_pictures_need_none(app, client, add):
    drawn(add, pictures=1)
    with app.app_context():
        reading, drawing = keys.add("reading", ["read"]), keys.add("drawing", ["draw"])
    assert client.get(LOG).status_code == 403
    assert client.get(LOG, headers={"X-API-KEY": drawing}).status_code == 403
    [url], _ = shown(client.get(LOG, headers={"X-API-KEY": reading}).text)
    assert client.get(url).status_code == 200
