"""Drawing: four kinds of answer to the same request."""

import io
from pathlib import Path

import pytest
from PIL import Image

from tests.serving import GENERATE, small

speaks_sql = pytest.mark.sql("blueprints/generate", "submission/submit")

BROKEN = {"base_model_name": "broken.safetensors"}


def opened(server, url):
    """The picture at this URL."""
    return Image.open(io.BytesIO(server.get(url.removeprefix(f"http://127.0.0.1:{server.port}")).body))


def test_the_answer_is_the_record_once_the_picture_is_drawn(server):
    reply = server.draw()
    told = reply.json
    assert (reply.status, told["task_status"], told["pictures_done"]) == (200, "finished", 1)
    assert told["progress"] == 100 and type(told["progress"]) is int
    assert told["in_queue_mills"] <= told["start_mills"] <= told["finish_mills"]
    assert (told["error"], told["webhook_url"], told["seed"]) == (None, "", "7")
    assert told["drawn_with"]["checkpoint"] == "toy.safetensors"
    assert "preview" not in told
    assert opened(server, told["result"][0]).size == (64, 64)


def test_a_later_answer_tells_the_task_at_once(server):
    reply = server.draw({"async_process": True, "image_seed": 2**63 - 1})
    told = reply.json
    assert (reply.status, told["task_status"], told["result"], told["preview"]) == (200, "pending", [], "")
    assert (told["start_mills"], told["finish_mills"], told["progress"]) == (-1, -1, -1)
    assert (told["seed"], told["req_params"]["image_seed"]) == (str(2**63 - 1), 2**63 - 1)
    assert server.ended(told["task_id"])["task_status"] == "finished"


@pytest.mark.parametrize(
    ("accept", "answered", "held"),
    [
        ("image/png", "image/png", "PNG"),
        ("image/jpg", "image/jpeg", "JPEG"),
        ("IMAGE/JPEG", "image/jpeg", "JPEG"),
        ("image/webp;q=0.9", "image/webp", "WEBP"),
        ("image/webp, image/png", "image/webp", "WEBP"),
        ("application/json;q=0.5, image/webp", "image/webp", "WEBP"),
        ("image/*", "image/png", "PNG"),
        ("image/avif", "image/png", "PNG"),
    ],
)
def test_an_image_type_is_answered_with_the_picture(server, accept, answered, held):
    reply = server.draw({"image_number": 3, "stream_output": True, "async_process": True}, Accept=accept)
    assert (reply.status, reply.headers["Content-Type"]) == (200, answered)
    assert Image.open(io.BytesIO(reply.body)).format == held
    assert server.get(f"/tasks/{reply.headers['X-Task-Id']}").json["req_params"]["image_number"] == 1


@pytest.mark.parametrize(
    "accept", ["*/*", "text/html", "application/json, image/png;q=0.9", "image/png;q=0", "text/html,image/webp"]
)
def test_other_types_are_answered_with_the_record(server, accept):
    assert server.draw(Accept=accept).headers["Content-Type"] == "application/json"


def test_a_stream_goes_before_a_later_answer(server):
    stream = server.follow(async_process=True)
    assert stream.header("Content-Type").startswith("text/event-stream")
    assert stream.events()[-1]["message"] == "Finished"


@pytest.mark.parametrize("members", [{}, {"async_process": True}])
def test_every_answer_names_task_and_seed(server, members):
    reply = server.draw({"image_seed": 5, **members})
    assert (reply.headers["X-Task-Id"], reply.headers["X-Seed"]) == (reply.json["task_id"], "5")


def test_a_stream_names_task_and_seed(server):
    stream = server.follow(image_seed=5)
    stream.events()
    assert stream.header("X-Seed") == "5"
    assert server.get(f"/tasks/{stream.header('X-Task-Id')}").json["seed"] == "5"


@pytest.mark.parametrize("path", [GENERATE, GENERATE.rstrip("/")])
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_both_slash_forms_and_any_content_type_do(server, path, kind):
    body = small(async_process=True)
    assert server.ask("POST", path, body, Content_Type=kind).json["task_status"] == "pending"


def test_the_seed_decides_the_picture(server):
    first, again, other = (opened(server, server.draw({"image_seed": seed}).json["result"][0]) for seed in (7, 7, 8))
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_every_picture_of_a_request_is_the_one_of_its_seed(server):
    both = server.draw({"image_number": 2, "image_seed": 7}).json
    alone = server.draw({"image_seed": 8}).json
    assert both["pictures_done"] == len(set(both["result"])) == 2
    assert opened(server, both["result"][1]).tobytes() == opened(server, alone["result"][0]).tobytes()


def test_a_saved_name_is_kept_and_never_overwritten(server):
    urls = [server.draw({"save_name": "../my pets/cat #1", "image_number": 2}).json["result"] for _ in range(2)]
    assert urls[0][0].endswith("/outputs/my%20pets/cat%20%231-0.png")
    assert len({*urls[0], *urls[1]}) == 4
    assert all(opened(server, url).size == (64, 64) for url in urls[0] + urls[1])


@pytest.mark.parametrize("ending", ["png", "jpg", "jpeg", "webp"])
def test_the_file_has_the_type_asked_for(server, ending):
    url = server.draw({"output_format": ending}).json["result"][0]
    assert url.endswith(f".{ending}")
    assert opened(server, url).format == {"jpg": "JPEG", "jpeg": "JPEG"}.get(ending, ending.upper())


def test_a_record_can_be_sent_back_as_a_request(server):
    first = server.draw({"image_number": 2}).json
    again = server.ask("POST", GENERATE, first["req_params"]).json
    assert again["req_params"] == first["req_params"]


@pytest.mark.parametrize("member", ["prompt", "negative_prompt", "save_name", "preset", "base_model_name"])
@speaks_sql
def test_a_null_character_is_refused_whatever_the_database(client, member):
    reply = client.post(GENERATE, json=small(async_process=True, **{member: "a\0b"}))
    assert reply.status_code == 422 and reply.json["detail"][0]["loc"] == ["body", member]


@speaks_sql
def test_a_failure_is_an_error_with_its_reason(server):
    reply = server.draw(BROKEN)
    assert (reply.status, reply.json["task_status"], reply.json["result"]) == (500, "failed", [])
    assert "broken.safetensors" in reply.json["error"]
    assert reply.json["detail"] == reply.json["error"]
    assert server.get(f"/tasks/{reply.json['task_id']}").json["error"] == reply.json["error"]


def test_a_failed_picture_is_an_error_with_its_reason(server):
    reply = server.draw(BROKEN, Accept="image/png")
    assert (reply.status, reply.headers["Content-Type"]) == (500, "application/json")
    assert "broken.safetensors" in reply.json["detail"]


def test_a_failed_stream_ends_with_the_reason(server):
    last = server.follow(**BROKEN).events()[-1]
    assert (last["message"], last["progress"], last["images"]) == ("Finished", 100, [])
    assert "broken.safetensors" in last["error"]


@speaks_sql
def test_each_request_is_a_task_of_its_own_and_recorded(client):
    told = [client.post(GENERATE, json=small(async_process=True)).json["task_id"] for _ in range(2)]
    lists = client.get("/tasks").json
    recorded = [task["task_id"] for tasks in lists.values() for task in tasks]
    assert len(set(told)) == 2 and sorted(recorded) == sorted(told)


@speaks_sql
def test_a_full_queue_refuses_and_says_when_to_come_back(make_app):
    app = make_app(QUEUE_LIMIT=1)
    with app.app_context():
        waiting_task(app)
    reply = app.test_client().post(GENERATE, json=small())
    assert reply.status_code == 429 and int(reply.headers["Retry-After"]) > 0
    assert "1 tasks are waiting" in reply.json["detail"]


def waiting_task(app):
    """A task in the queue of an application that does not draw."""
    from fooocus_flask.database import db
    from fooocus_flask.tables import Task

    db.session.add(Task(task_id="0" * 32, req_params=small(), in_queue_mills=1, task_status="pending"))
    db.session.commit()


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ("", "http://pictures.example:81"),
        ("https://cdn.example/art/", "https://cdn.example/art"),
        ("cdn.example:8080", "http://cdn.example:8080"),
        ("cdn.example", "http://cdn.example:81"),
    ],
)
def test_urls_start_as_configured_or_as_the_client_spoke_to_us(make_app, configured, expected):
    from fooocus_flask.pictures import urls

    app = make_app(BASE_URL=configured)
    with app.test_request_context(base_url="http://pictures.example:81"):
        assert urls.base() == expected


def test_a_proxy_is_believed_only_where_one_is_expected(make_app):
    from fooocus_flask.pictures import urls

    told = {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_HOST": "art.example"}
    seen = []
    for proxies in (0, 1):
        app = make_app(TRUSTED_PROXIES=proxies)
        app.add_url_rule("/base", view_func=urls.base)
        seen.append(app.test_client().get("/base", environ_overrides=told).text)
    assert seen == ["http://localhost", "https://art.example"]


def test_the_web_process_never_imports_torch(server):
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "torch" not in maps and "transformers" not in maps


def test_lists_with_repeats_are_drawn(server):
    styles = ["Fooocus V2", "Fooocus Sharp"] * 3 + ["Random Style"] * 2
    events, empty = ["ended"] * 4, [{"model_name": "None"}] * 5
    reply = server.draw({"style_selections": styles, "webhook_events": events, "loras": empty})
    assert (reply.status, reply.json["task_status"]) == (200, "finished")
