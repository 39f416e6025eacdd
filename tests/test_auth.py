"""The key, and the tokens that stand for it in picture URLs."""

import pytest
from flask import Flask, request

from fooocus_flask import arguments, auth, cors, create_app, errors, openapi

KEY = "schlüssel"
PICTURE = "/outputs/2024-07-04/cat.png"


@pytest.fixture
def app():
    """An application with one group that needs the key and two that do not."""
    app = Flask(__name__)
    app.config["API_KEY"] = KEY
    for part in (errors, cors, auth):
        part.init_app(app)
    api = openapi.init_app(app)
    closed = arguments.Blueprint("closed", __name__)

    @closed.route("/closed", methods=["GET", "POST"])
    def read():
        return {"read": len(request.get_data())}

    for name in ("files", "health"):
        group = arguments.Blueprint(name, __name__)
        group.add_url_rule(f"/{name}", view_func=lambda: {"open": True}, endpoint=name)
        api.register_blueprint(group)
    api.register_blueprint(closed)
    return app


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.mark.parametrize("headers", [{}, {"X-API-KEY": "wrong"}, {"X-API-KEY": ""}, {"X-API-KEY": "schl\u00fcsse"}])
def test_without_the_key_the_answer_is_forbidden(client, headers):
    reply = client.get("/closed", headers=headers)
    assert (reply.status_code, reply.json) == (403, {"detail": "Forbidden"})


def test_the_key_opens_whatever_the_case_of_the_header(client):
    sent = KEY.encode().decode("latin-1")
    assert client.get("/closed", headers={"x-api-key": sent}).status_code == 200


def test_a_key_in_the_query_opens_nothing(client):
    assert client.get("/closed", query_string={"X-API-KEY": KEY, "apikey": KEY}).status_code == 403


def test_a_body_is_not_read_before_the_key_is(client):
    class Untouched:
        def read(self, *_):
            raise AssertionError("the body was read")

        readline = readlines = __iter__ = read

    unread = {"wsgi.input": Untouched(), "CONTENT_LENGTH": "10"}
    reply = client.post("/closed", environ_overrides=unread)
    assert reply.status_code == 403


@pytest.mark.parametrize("path", ["/files", "/health", "/docs", "/docs/swagger-ui.css"])
def test_files_health_and_documentation_need_no_key(client, path):
    with client.get(path) as reply:
        assert reply.status_code == 200


def test_a_path_that_does_not_exist_is_told_without_the_key(client):
    assert client.get("/nowhere").status_code == 404


def test_a_preflight_needs_no_key(client):
    headers = {"Origin": "http://page.example", "Access-Control-Request-Method": "POST"}
    assert client.options("/closed", headers=headers).status_code == 200


def test_without_a_configured_key_everything_is_open(app):
    app.config["API_KEY"] = ""
    assert app.test_client().get("/closed").status_code == 200
    with app.test_request_context(PICTURE):
        assert auth.sign(PICTURE) == ""
        assert auth.check(PICTURE, None)


def test_a_token_opens_its_own_path_only(app):
    with app.test_request_context(PICTURE):
        token = auth.sign(PICTURE)
        assert auth.check(PICTURE, token)
        assert not auth.check("/outputs/2024-07-04/dog.png", token)
        assert not auth.check(PICTURE, token[:-1])
        assert not auth.check(PICTURE, "")
        assert not auth.check(PICTURE, None)


def test_a_token_stays_the_same_until_the_key_changes(app):
    with app.test_request_context(PICTURE):
        token = auth.sign(PICTURE)
        assert auth.sign(PICTURE) == token
        app.config["API_KEY"] = "another"
        assert auth.sign(PICTURE) != token


def test_the_key_itself_opens_a_file_without_a_token(app):
    with app.test_request_context(PICTURE, headers={"X-API-KEY": KEY.encode().decode("latin-1")}):
        assert auth.check(PICTURE, None)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/engine/generate/", 403),
        ("POST", "/v1/engine/control?action=stop", 403),
        ("POST", "/v1/tools/generate_mask", 403),
        ("POST", "/v1/tools/describe-image", 403),
        ("GET", "/tasks", 403),
        ("GET", "/tasks/12", 403),
        ("GET", "/v1/engines/all-models", 403),
        ("GET", "/v1/engines/styles", 403),
        ("GET", PICTURE, 403),
        ("GET", "/", 307),
        ("GET", "/docs", 200),
        ("GET", "/redoc", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/ping", 200),
    ],
)
def test_each_route_of_the_contract_is_closed_or_open(tmp_path, method, path, status):
    client = create_app(INSTANCE=tmp_path, API_KEY=KEY).test_client()
    assert client.open(path, method=method).status_code == status


def test_a_token_opens_a_files_address(tmp_path):
    app = create_app(INSTANCE=tmp_path, API_KEY=KEY)
    with app.test_request_context():
        token = auth.sign(PICTURE)
    assert app.test_client().get(PICTURE, query_string={"token": token}).status_code == 404
