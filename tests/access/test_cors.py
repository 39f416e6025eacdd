"""What a web page on another host is allowed."""

import pytest
from flask import Flask

from fooocus_flask import request_ids
from fooocus_flask.access import cors
from fooocus_flask.submission import request_notes
from schemas import answers

PAGE = "http://page.example"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}


@pytest.fixture
def app():
    app = Flask(__name__)
    cors.init_app(app)
    app.add_url_rule("/", view_func=lambda: {"fine": True}, methods=["GET", "POST"])
    return app


def allowed(reply):
    """The headers of an answer that concern CORS, and Vary."""
    return {
        name.removeprefix("Access-Control-"): value
        for name, value in reply.headers.items()
        if name == "Vary" or (name.startswith("Access-Control-") and name != "Access-Control-Expose-Headers")
    }


def test_a_simple_request_may_come_from_any_page(app):
    reply = app.test_client().get("/", headers={"Origin": PAGE})
    assert allowed(reply) == {"Allow-Origin": "*", "Allow-Credentials": "true", "Vary": "Origin"}


def test_a_page_may_read_the_headers_of_our_own(app):
    reply = app.test_client().get("/", headers={"Origin": PAGE})
    exposed = set(reply.headers["Access-Control-Expose-Headers"].split(", "))
    own = {"X-Task-Id", "X-Seed", "X-Total-Count", "X-Described-By", request_ids.HEADER, request_notes.HEADER}
    assert exposed >= {*own, answers.REPLAYED_HEADER, "Retry-After"}


def test_a_request_with_a_cookie_gets_its_own_origin(app):
    client = app.test_client()
    client.set_cookie("a", "b")
    reply = client.get("/", headers={"Origin": PAGE})
    assert allowed(reply) == {"Allow-Origin": PAGE, "Allow-Credentials": "true", "Vary": "Origin"}


def test_a_request_without_an_origin_gets_nothing_that_caches_may_give_to_others(app):
    assert allowed(app.test_client().get("/")) == {"Vary": "Origin"}


@pytest.mark.parametrize("origin", [PAGE, "null"])
def test_a_preflight_is_answered_at_once(app, origin):
    headers = PREFLIGHT | {"Origin": origin, "Access-Control-Request-Headers": "x-api-key, content-type"}
    reply = app.test_client().options("/", headers=headers)
    assert (reply.status_code, reply.data) == (200, b"OK")
    assert allowed(reply) == {
        "Allow-Origin": origin,
        "Allow-Credentials": "true",
        "Allow-Methods": "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
        "Allow-Headers": "x-api-key, content-type",
        "Max-Age": "600",
        "Vary": "Origin",
    }


def test_other_options_requests_are_no_preflight(app):
    assert app.test_client().options("/").data == b""


@pytest.mark.parametrize("configured", [[PAGE, "http://other.example"], f"{PAGE}, http://other.example"])
def test_origins_can_be_listed(app, configured):
    app.config["CORS_ORIGINS"] = configured
    reply = app.test_client().get("/", headers={"Origin": PAGE})
    assert allowed(reply) == {"Allow-Origin": PAGE, "Allow-Credentials": "true", "Vary": "Origin"}
    assert app.test_client().options("/", headers=PREFLIGHT).status_code == 200


def test_a_page_that_is_not_listed_is_told_nothing(app):
    app.config["CORS_ORIGINS"] = ["http://other.example"]
    reply = app.test_client().get("/", headers={"Origin": PAGE})
    assert allowed(reply) == {"Vary": "Origin"}
    assert app.test_client().options("/", headers=PREFLIGHT).status_code == 400
