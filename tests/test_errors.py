"""Every failure leaves in one shape."""

import json
import logging
import tracemalloc

import flask_smorest
import pytest
from flask import Flask, abort, jsonify

from fooocus_flask import errors
from fooocus_flask.server import openapi
from fooocus_flask.submission import parsing
from schemas.faults import LONGEST_ECHO
from schemas.fields import Whole
from schemas.generate import GenerateSchema
from schemas.tasks import TasksQuerySchema

pytestmark = pytest.mark.sql("errors")

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def client():
    """A small application with the rules of the real one, and routes that fail in each way."""
    app = Flask(__name__)
    app.config.update(MAX_CONTENT_LENGTH=2000, PROPAGATE_EXCEPTIONS=False)
    errors.init_app(app)
    api = openapi.init_app(app)
    group = parsing.Blueprint("group", __name__)

    @group.post("/echo/")
    @group.arguments(GenerateSchema)
    @group.response(200)
    def echo(sent):
        return sent

    @group.get("/query")
    @group.arguments(TasksQuerySchema, location="query")
    @group.response(200)
    def query(sent):
        return sent

    @group.get("/fail/<how>")
    def fail(how):
        raise {
            "task": errors.TaskNotFound("12"),
            "full": errors.QueueFull(8, 30),
            "forbidden": errors.Forbidden(),
            "bug": ZeroDivisionError("a secret"),
        }[how]

    @group.get("/abort")
    def stop():
        abort(409, "Another one was faster")

    plain = flask_smorest.Blueprint("plain", __name__)

    @plain.post("/plain")
    @plain.arguments(TasksQuerySchema)
    @plain.response(200)
    def plain_view(sent):
        return sent

    api.register_blueprint(group)
    api.register_blueprint(plain)
    return app.test_client()


def first(reply):
    """The first fault of a 422."""
    assert reply.status_code == 422
    return reply.json["detail"][0]


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/nowhere", 404, "Not Found"),
        ("/fail/task", 404, "No task has the id '12'"),
        ("/fail/forbidden", 403, "Forbidden"),
        ("/abort", 409, "Another one was faster"),
        ("/echo", 405, "Method Not Allowed"),
        ("/echo/", 405, "Method Not Allowed"),
    ],
)
def test_a_failure_is_json_with_a_detail(client, path, status, detail):
    reply = client.get(path)
    assert (reply.status_code, reply.json) == (status, {"detail": detail})


def test_below_the_path_of_another_api_a_failure_has_that_one_s_shape(client):
    def told(refusal):
        response = jsonify(words=refusal.detail, raised=type(refusal.error).__name__)
        response.status_code = refusal.status
        return response

    errors.shapes.of(client.application)["/fail"] = told
    told_of_view, told_of_route = client.get("/fail/full"), client.post("/fail/full")
    assert (told_of_view.status_code, told_of_view.json["raised"]) == (429, "QueueFull")
    assert (told_of_route.status_code, told_of_route.json["raised"]) == (405, "MethodNotAllowed")
    assert client.get("/failed").json == {"detail": "Not Found"}


@pytest.mark.parametrize("path", ["/echo", "/echo/"])
def test_a_wrong_method_is_told_the_right_ones(client, path):
    assert "POST" in client.get(path).headers["Allow"]


@pytest.mark.parametrize("path", ["/query", "/query/"])
def test_a_wrong_method_is_told_under_both_slash_forms(client, path):
    reply = client.delete(path)
    assert reply.status_code == 405 and "GET" in reply.headers["Allow"]


def test_a_full_queue_says_when_to_come_back(client):
    reply = client.get("/fail/full")
    assert (reply.status_code, reply.headers["Retry-After"]) == (429, "30")


def test_a_bug_is_logged_and_not_shown(client, caplog):
    with caplog.at_level(logging.ERROR):
        reply = client.get("/fail/bug")
    assert (reply.status_code, reply.json) == (500, {"detail": "Internal Server Error"})
    assert "ZeroDivisionError" in caplog.text


def test_a_body_that_is_too_large_is_told_the_limit(client):
    reply = client.post("/echo/", data=b"{" + b" " * 3000 + b"}")
    assert (reply.status_code, reply.json) == (413, {"detail": "The request body is larger than 2000 bytes"})


@pytest.mark.parametrize("type", ["application/json", None, FORM, "text/plain", "application/vnd.api+json"])
def test_json_is_read_whatever_its_type(client, type):
    reply = client.post("/echo/", data=b'{"image_number": "2"}', content_type=type)
    assert (reply.status_code, reply.json) == (200, {"image_number": 2})


@pytest.mark.parametrize("body", [b"", b"  ", b"null"])
def test_no_body_is_a_missing_one(client, body):
    fault = {"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}
    assert first(client.post("/echo/", data=body)) == fault


def test_broken_json_is_told_where_it_breaks(client):
    reply = client.post("/echo/", data=b'{"prompt":', content_type="application/json")
    assert first(reply) == {
        "type": "json_invalid",
        "loc": ["body", 10],
        "msg": "JSON decode error",
        "input": {},
        "ctx": {"error": "Expecting value"},
    }


@pytest.mark.parametrize("body", [b'{"sharpness": NaN}', b'{"sharpness": -Infinity}', b"\xff{}", b"[" * 1900])
def test_what_python_would_read_and_json_is_not(client, body):
    assert first(client.post("/echo/", data=body))["type"] == "json_invalid"


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"5"])
def test_json_that_is_no_object_is_refused(client, body):
    assert first(client.post("/echo/", data=body))["type"] == "model_attributes_type"


def test_a_form_is_refused(client):
    reply = client.post("/echo/", data=b"prompt=a+cat", content_type=FORM)
    assert first(reply)["type"] == "model_attributes_type"


def test_faults_are_told_all_at_once_with_place_value_and_bound(client):
    reply = client.post("/echo/", json={"image_number": 99, "prompt": 5})
    told = sorted(reply.json["detail"], key=lambda fault: fault["loc"])
    assert told == [
        {
            "type": "less_than_equal",
            "loc": ["body", "image_number"],
            "msg": "Input should be less than or equal to 32",
            "input": 99,
            "ctx": {"le": 32},
        },
        {"type": "string_type", "loc": ["body", "prompt"], "msg": "Input should be a valid string", "input": 5},
    ]


def test_a_fault_in_the_query_is_told_there(client):
    assert first(client.get("/query?page=x"))["loc"] == ["query", "page"]


@pytest.mark.parametrize("value", ["\ud83d", 1e999, [[[[[[]]]]]], {"a": {"b": "c" * 1000}}])
def test_any_value_can_be_told_back(client, value):
    body = json.dumps({"image_number": value}).replace("Infinity", "1e999")
    reply = client.post("/echo/", data=body)
    assert first(reply)["type"] == "int_parsing"
    assert len(reply.data) < 3 * LONGEST_ECHO


def test_json_leaves_compact_and_in_utf_8(client):
    assert client.post("/echo/", json={"prompt": "猫×2"}).data.strip() == '{"prompt":"猫×2"}'.encode()


def test_a_blueprint_with_flask_smorests_own_rules_tells_its_faults_alike(client):
    reply = client.post("/plain", json={"page": "x"})
    assert first(reply) == {
        "type": "int_parsing",
        "loc": ["body", "page"],
        "msg": "Input should be a valid integer",
        "input": "x",
    }


def test_of_many_faults_the_first_are_told_and_how_many_more_there_are(client):
    reply = client.post("/echo/", json={"style_selections": ["no such style"] * 60})
    assert [fault["loc"] for fault in reply.json["detail"]] == [
        *(["body", "style_selections", place] for place in range(20)),
        ["body"],
    ]
    assert reply.json["detail"][-1]["msg"] == "and 40 more"


WHOLE = [name for name, field in GenerateSchema().fields.items() if isinstance(field, Whole)]


@pytest.mark.parametrize("digits", [30, 400, 4000, 5000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_whole_number_of_any_length_is_refused_and_no_bug(client, digits, sign):
    number = sign + "9" * digits
    for name in WHOLE:
        body = f'{{"{name}": {number}}}'
        assert client.post("/echo/", data=body, content_type="application/json").status_code in (413, 422), name
    assert client.get(f"/query?page={number}").status_code == 422
    body = f'{{"outpaint_distance": [0, 0, 0, {number}]}}'
    assert client.post("/echo/", data=body, content_type="application/json").status_code in (413, 422)


def test_a_search_has_few_words(client):
    assert client.get("/query?prompt=" + "+".join(["cat"] * 32)).status_code == 200
    assert first(client.get("/query?prompt=" + "+".join(["cat"] * 500)))["loc"] == ["query", "prompt"]


def test_json_of_more_values_than_any_request_has_is_refused_before_it_is_built(client):
    client.application.config["MAX_CONTENT_LENGTH"] = 20_000_000
    tracemalloc.start()
    reply = client.post("/echo/", data=b'{"loras": [' + b"{}," * 2_000_000 + b"{}]}")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert first(reply)["ctx"]["error"] == "it has more than 100000 commas and brackets"
    assert most < 50_000_000


@pytest.mark.parametrize("named", ["cat", "cat uov_input_image"])
def test_a_body_is_large_because_of_its_pictures_or_is_refused(client, named):
    client.application.config["MAX_CONTENT_LENGTH"] = 20_000_000
    reply = client.post("/echo/", json={named: "A" * 9_000_000})
    assert (reply.status_code, reply.json["detail"]) == (
        413,
        "Apart from pictures in base64 the request body may have 8388608 bytes",
    )
    sent = {"uov_input_image": "A" * 4_500_000, "controlnet_image": [{"cn_img": "A" * 4_500_000}]}
    assert client.post("/echo/", json=sent).status_code == 200
