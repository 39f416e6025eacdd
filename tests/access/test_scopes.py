"""The key, and the tokens that stand for it in picture URLs."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from pathlib import Path
from time import time

import pytest
from flask import Flask, request

import fooocus_flask
from fooocus_flask import errors, settings
from fooocus_flask.access import callers, cors, file_tokens, keys, scopes
from fooocus_flask.errors import Forbidden
from fooocus_flask.pictures import urls
from fooocus_flask.server import openapi
from fooocus_flask.submission import parsing
from tests import postgresql
from tests.conftest import picture

KEY = "schlüssel"
PICTURE = "/outputs/2024-07-04/cat.png"


@pytest.fixture
def app(tmp_path, database):
    """An application with one group that needs the key and two that do not."""
    app = Flask(__name__, instance_path=str(tmp_path))
    app.config.from_object(settings)
    app.config.update({"API_KEY": KEY, **postgresql.settings(tmp_path)})
    for part in (errors, cors, scopes, fooocus_flask.database):
        part.init_app(app)
    api = openapi.init_app(app)
    closed = parsing.Blueprint("closed", __name__)

    @closed.route("/closed", methods=["GET", "POST"])
    def read():
        return {"read": len(request.get_data())}

    for name in ("files", "health"):
        group = parsing.Blueprint(name, __name__)
        group.add_url_rule(f"/{name}", view_func=lambda: {"open": True}, endpoint=name)
        api.register_blueprint(group)
    api.register_blueprint(closed)
    yield app
    fooocus_flask.database.close(app)


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


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_key_also_opens_as_a_bearer_token(client, scheme):
    sent = KEY.encode().decode("latin-1")
    assert client.get("/closed", headers={"Authorization": f"{scheme} {sent}"}).status_code == 200


def test_without_any_key_everything_is_open(app):
    app.config["API_KEY"] = ""
    assert app.test_client().get("/closed").status_code == 200
    with app.test_request_context(PICTURE):
        assert file_tokens.sign(PICTURE) == ""
        file_tokens.check(PICTURE, None)


def refusal(path, token):
    """Why a file cannot be loaded with this token."""
    with pytest.raises(Forbidden) as told:
        file_tokens.check(path, token)
    return str(told.value)


def test_a_token_opens_its_own_path_only(app):
    with app.test_request_context(PICTURE):
        token = file_tokens.sign(PICTURE)
        file_tokens.check(PICTURE, token)
        for wrong in (token[:-1], token.swapcase(), "é", "9999999999." + token, "." + token, "x." + token):
            assert "wrong" in refusal(PICTURE, wrong)
        assert "wrong" in refusal("/outputs/2024-07-04/dog.png", token)
        assert "needs the token" in refusal(PICTURE, None) == refusal(PICTURE, "")


def test_a_token_stays_the_same_whatever_becomes_of_the_key(app):
    with app.test_request_context(PICTURE):
        token = file_tokens.sign(PICTURE)
        app.config["API_KEY"] = "another"
        assert file_tokens.sign(PICTURE) == token
        file_tokens.check(PICTURE, token)


def test_a_restart_keeps_tokens_and_a_new_secret_ends_them(make_app):
    tokens = []
    for round in range(3):
        app = make_app(API_KEY=KEY)
        with app.test_request_context():
            tokens.append(file_tokens.sign(PICTURE))
        path = Path(app.instance_path) / file_tokens.FILE
        assert path.stat().st_mode & 0o777 == 0o600
        if round == 1:
            path.unlink()
        fooocus_flask.database.close(app)
    assert tokens[0] == tokens[1] != tokens[2]


def test_a_token_signed_with_the_key_itself_as_before_opens_until_the_key_changes(app):
    secret = hashlib.sha256(b"file token:" + KEY.encode()).digest()
    token = urlsafe_b64encode(hmac.digest(secret, PICTURE.encode(), "sha256")[:18]).decode()
    with app.test_request_context(PICTURE):
        file_tokens.check(PICTURE, token)
        app.config["API_KEY"] = "another"
        assert "wrong" in refusal(PICTURE, token)


def test_a_token_expires_if_the_operator_wants_it(app, monkeypatch):
    app.config["FILE_URL_TTL"] = 600
    with app.test_request_context(PICTURE):
        token = file_tokens.sign(PICTURE)
        assert file_tokens.sign(PICTURE) == token  # what is cached stays good
        until = int(token.partition(".")[0])
        assert 590 <= until - time() <= 660 and until % 60 == 0
        file_tokens.check(PICTURE, token)
        later = token.replace(str(until), str(until + 60))
        assert "wrong" in refusal(PICTURE, later)
        monkeypatch.setattr(file_tokens, "time", lambda: until + 1)
        assert "expired" in refusal(PICTURE, token)
        file_tokens.check(PICTURE, file_tokens.sign(PICTURE))


@pytest.mark.parametrize("before", [0, 86400])
def test_tokens_made_when_they_had_more_time_obey_the_time_of_now(app, before):
    with app.test_request_context(PICTURE):
        app.config["FILE_URL_TTL"] = before
        token = file_tokens.sign(PICTURE)
        app.config["FILE_URL_TTL"] = 600
        assert "expired" in refusal(PICTURE, token)
        file_tokens.check(PICTURE, file_tokens.sign(PICTURE))
        app.config["FILE_URL_TTL"] = before
        file_tokens.check(PICTURE, token)


def test_the_key_itself_opens_a_file_without_a_token(app):
    with app.test_request_context("/files", headers={"X-API-KEY": KEY.encode().decode("latin-1")}):
        app.preprocess_request()
        assert callers.current() is callers.OPERATOR
        file_tokens.check(PICTURE, None)


def test_a_file_s_address_says_why_it_does_not_open(make_app):
    app = make_app(API_KEY=KEY)
    client, path = app.test_client(), "/outputs/" + picture(app, "cat.png")
    with app.test_request_context():
        url = urls.absolute(path, "")
    assert client.get(url).status_code == 200
    told = {token: client.get(path, query_string={"token": token}) for token in ("", "wrong")}
    assert {reply.status_code for reply in told.values()} == {403}
    assert "needs the token" in told[""].json["detail"] and "wrong" in told["wrong"].json["detail"]


def test_a_configured_key_and_keys_of_the_table_open_side_by_side(app, client):
    with app.app_context():
        secret = keys.add("studio", ["admin"])
    assert client.get("/closed", headers={"X-API-KEY": secret}).status_code == 200
    assert client.get("/closed", headers={"X-API-KEY": KEY.encode().decode("latin-1")}).status_code == 200


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
def test_each_route_of_the_contract_is_closed_or_open(make_app, method, path, status):
    client = make_app(API_KEY=KEY).test_client()
    assert client.open(path, method=method).status_code == status


def test_a_token_opens_a_files_address(make_app):
    app = make_app(API_KEY=KEY)
    with app.test_request_context():
        token = file_tokens.sign(PICTURE)
    assert app.test_client().get(PICTURE, query_string={"token": token}).status_code == 404
