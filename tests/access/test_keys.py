"""Keys in the database: made and taken back by commands, and what each of them may do."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from fooocus_flask.access import callers, keys
from fooocus_flask.access.scopes import scopes_of
from fooocus_flask.database import db
from fooocus_flask.server_lock import holder
from fooocus_flask.tables import Key, Task
from fooocus_flask.tasks import queue
from tests import postgresql
from tests.conftest import picture
from tests.serving import GENERATE, ROOT, small

speaks_sql = pytest.mark.sql("access/keys", "access/callers")

LATER = {"async_process": True}


@pytest.fixture
def made(app):
    """Makes a key with these scopes: what a client with it sends."""

    def made(name, *scopes, **limits):
        with app.app_context():
            return {"X-API-KEY": keys.add(name, scopes, **limits)}

    return made


@pytest.fixture
def command(app, make_app):
    """Runs `flask keys …` by an application of its own on the database: its exit status, stdout and stderr."""

    def run(*words):
        done = make_app().test_cli_runner().invoke(args=["keys", *words])
        return done.exit_code, done.stdout, done.stderr

    return run


@pytest.fixture
def process(app):
    """The same by a process, `flask --app wsgi keys …`."""

    def run(*words):
        here = {"FOOOCUS_INSTANCE": app.instance_path, "PYTHONWARNINGS": "error"}
        here |= postgresql.environment(Path(app.instance_path))
        line = [sys.executable, "-m", "flask", "--app", "wsgi", "keys", *words]
        done = subprocess.run(line, cwd=ROOT, env=os.environ | here, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return run


def rows(app):
    """The keys as they lie in the database."""
    with app.app_context():
        return {key.name: key for key in db.session.query(Key)}


def submitted(client, headers, **members):
    """The answer to a request for a picture later."""
    return client.post(GENERATE, json=small(**LATER, **members), headers=headers)


# --- commands


@speaks_sql
def test_a_key_is_made_shown_once_and_kept_as_a_hash(app, client, command):
    status, secret, told = command("add", "studio", "--scope", "read", "--per-minute", "60", "--queued", "5")
    assert (status, secret.count("\n"), "first key" in told) == (0, 1, True)
    secret = secret.strip()
    assert secret.startswith("fk_") and len(secret) == 46
    key = rows(app)["studio"]
    assert (key.hash, key.scopes) == (sha256(secret.encode()).hexdigest(), ["read"])
    assert (key.per_minute, key.queued, key.revoked_mills) == (60, 5, None)
    listed = command("list")[1]
    assert secret not in listed and key.hash not in listed
    assert listed.splitlines()[1].split()[:4] == ["studio", "read", "60", "5"]
    assert client.get("/tasks").status_code == 403
    assert client.get("/tasks", headers={"X-API-KEY": secret}).status_code == 200
    assert client.get("/tasks", headers={"Authorization": f"Bearer {secret}"}).status_code == 200


def test_no_secret_lies_anywhere_in_the_instance_folder(app, client, made):
    headers = made("studio", "read", "draw")
    kept = "/outputs/" + picture(app, "cat.png")  # a file in that folder, whatever the database
    submitted(client, headers, uov_input_image=kept, uov_method="Vary (Subtle)")
    files = [path for path in Path(app.instance_path).rglob("*") if path.is_file()]
    assert files and not [path for path in files if headers["X-API-KEY"].encode() in path.read_bytes()]


def test_no_secret_is_logged_or_told_to_a_webhook(app, make_server, receiver, made):
    headers = made("studio", "draw")
    server = make_server(FOOOCUS_ALLOW_PRIVATE_ADDRESSES="true", FOOOCUS_LOG_LEVEL="DEBUG")
    for secret in (headers["X-API-KEY"], "fk_wrong"):
        server.draw({"webhook_url": receiver.url}, Authorization=f"Bearer {secret}")
    _, sent, told = receiver.take()
    assert told["key_name"] == "studio"
    server.stop()
    assert any("submitted task" in line for line in server.lines)
    assert "fk_" not in "".join([*server.lines, receiver.raw[0].decode(), str(sent)])


@speaks_sql
def test_commands_reach_an_application_that_serves(app, client, command, process):
    """They need no lock, which the server has."""
    holder.of(app).take()
    first = command("add", "studio")[1].strip()
    assert client.get("/tasks", headers={"X-API-KEY": first}).status_code == 200
    status, second, _ = process("rotate", "studio")
    assert (status, second.strip() != first) == (0, True)
    answers = [client.get("/tasks", headers={"X-API-KEY": secret.strip()}).status_code for secret in (first, second)]
    assert answers == [403, 200]
    assert command("revoke", "studio")[0] == 0
    assert client.get("/tasks", headers={"X-API-KEY": second.strip()}).status_code == 403
    assert "revoked" in command("list")[1]


@speaks_sql
def test_the_last_key_s_end_opens_no_door_until_it_is_removed(app, client, command, made):
    made("studio", "read")
    command("revoke", "studio")
    assert client.get("/tasks").status_code == 403
    status, _, told = command("remove", "studio")
    assert (status, "no request needs a key" in told) == (0, True)
    assert client.get("/tasks").status_code == 200


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["add", "studio"], "There is a key 'studio' already; rotate gives it a new key"),
        (["add", "gone"], "There is a key 'gone' already, revoked; remove it first"),
        (["add", "a b"], "'a b' cannot be a key's name"),
        (["add", "API_KEY"], "'API_KEY' cannot be a key's name"),
        (["add", "x" * 65], "cannot be a key's name"),
        (["add", "new", "--scope", "write"], "'write' is not one of 'read', 'draw', 'admin'"),
        (["add", "new", "--queued", "-1"], "-1 is not in the range"),
        (["rotate", "nobody"], "There is no key 'nobody'; there are: gone, studio"),
        (["rotate", "gone"], "The key 'gone' is revoked, and stays so"),
        (["revoke", "gone"], "The key 'gone' is revoked already"),
        (["remove", "studio"], "The key 'studio' is in force; revoke it first"),
    ],
)
@speaks_sql
def test_what_cannot_be_done_is_told_in_a_sentence(app, made, words, told):
    made("studio", "read")
    made("gone", "read")
    with app.app_context():
        keys.revoke("gone")
    done = app.test_cli_runner().invoke(args=["keys", *words])
    assert done.exit_code != 0 and told in done.stderr and "Traceback" not in done.stderr


def test_an_unusual_scope_is_no_error_in_any_order(app, made):
    made("studio", "admin", "read", "read")
    assert rows(app)["studio"].scopes == ["read", "admin"]


@speaks_sql
def test_a_command_brings_the_tables_up_to_date_in_an_empty_folder_and_makes_no_secret(tmp_path, database):
    environ = {**os.environ, "FOOOCUS_INSTANCE": str(tmp_path / "new"), **postgresql.environment(tmp_path / "new")}
    line = [sys.executable, "-W", "error", "-m", "flask", "--app", "wsgi", "keys", "add", "studio"]
    done = subprocess.run(line, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout[:3]) == (0, "fk_"), done.stderr
    assert (tmp_path / "new").is_dir() and not [*(tmp_path / "new").glob("*_secret")]


def test_the_settings_of_the_instance_folder_count(app, command):
    config = Path(app.instance_path) / "config.py"
    config.write_text("API_KEY = 'k'\n")
    assert "first key" not in command("add", "studio")[2]


def test_a_command_starts_no_engine_and_is_not_patched(tmp_path, database):
    program = (
        "import wsgi; from fooocus_flask.runner.runner import runner; from gevent import monkey; "
        "print(runner.of(wsgi.app).lanes[0].supervisor.engine, runner.of(wsgi.app)._greenlet, monkey.saved)"
    )
    here = {"FOOOCUS_INSTANCE": str(tmp_path), "FLASK_RUN_FROM_CLI": "true"}
    environ = {**os.environ, **here, **postgresql.environment(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None None {}"


# --- what keys may do

LISTS = [
    *(
        ("GET", f"/v1/engines/{name}")
        for name in (
            *("all-models", "vaes", "embeddings", "wildcards", "styles", "presets"),
            *("sizes", "samplers", "schedulers", "performance-modes"),
        )
    ),
    *(
        ("GET", f"/sdapi/v1/{name}")
        for name in ("sd-models", "sd-vae", "loras", "samplers", "schedulers", "upscalers", "latent-upscale-modes")
    ),
    ("POST", "/v1/engines/refresh-models"),
]
"""The names of what can be drawn with, which clients ask for before they draw."""
ROUTES = [
    ("GET", "/tasks", {"read"}),
    ("GET", "/tasks?action=delete&start_at=2020-01-01", set()),
    ("DELETE", "/tasks?start_at=2020-01-01", set()),
    ("GET", "/tasks/{own}", {"read", "draw"}),
    ("GET", "/tasks/{others}", {"read"}),
    ("GET", "/tasks/{own}/deliveries", {"read", "draw"}),
    ("GET", "/tasks/{others}/deliveries", {"read"}),
    ("POST", "/tasks/{own}/cancel", {"draw"}),
    ("POST", "/tasks/{others}/cancel", set()),
    ("POST", "/tasks/{others}/deliveries/1/replay", set()),
    ("DELETE", "/tasks/{own}", set()),
    ("POST", "/v1/engine/control?action=stop&task_id={own}", {"draw"}),
    ("POST", "/v1/engine/control?action=stop&task_id={others}", set()),
    ("POST", "/v1/engine/control?action=skip&task_id={others}", set()),
    ("GET", "/v1/engine/queue", {"read"}),
    ("POST", "/v1/engine/queue/pause", set()),
    ("POST", "/v1/engine/queue/resume", set()),
    ("POST", GENERATE, {"draw"}),
    ("POST", "/v1/tools/generate_mask", {"draw"}),
    ("POST", "/v1/tools/describe-image", {"draw"}),
    ("POST", "/v1/tools/read-metadata", {"draw"}),
    ("POST", "/v1/tools/count-tokens", {"draw"}),
    *((method, path, {"read", "draw"}) for method, path in LISTS),
    ("GET", "/sdapi/v1/prompt-styles", {"read"}),
    ("GET", "/v1/models", {"read"}),
    ("GET", "/v1/engine/workers", {"read"}),
    ("GET", "/v1/generation/job-history", {"read"}),
    ("GET", "/v1/generation/job-queue", {"read"}),
    ("GET", "/metrics", {"read"}),
    ("GET", "/outputs/2024-07-05/cat.png", {"read"}),
]


@pytest.mark.parametrize("scope", keys.SCOPES)
def test_each_scope_opens_its_routes_and_no_others(app, client, made, add, scope):
    headers = made("studio", scope)
    picture(app, "cat.png")
    wrong = []
    for method, path, scopes in ROUTES:
        tasks = {"own": add("pending", key_name="studio"), "others": add("pending", key_name="other")}
        reply = client.open(path.format(**tasks), method=method, headers=headers)
        if (reply.status_code == 403) == (scope in scopes | {"admin"}):
            wrong.append((method, path, reply.status_code, reply.json))
        if reply.status_code == 403:
            assert "studio" in reply.text and "lacks the scope" in reply.text
    assert wrong == []


@pytest.mark.parametrize("path", ["/v1/engine/control?action=stop", "/v1/generation/stop"])
@speaks_sql
def test_a_stop_that_names_no_task_is_for_the_callers_own(app, client, made, add, path):
    """Where several are drawn at once, and another key's was begun first."""
    headers = made("studio", "draw")
    others = add("running", key_name="other", start_mills=1)
    assert client.post(path, headers=headers).status_code == 403
    own = add("running", key_name="studio", start_mills=2)
    assert client.post(path, headers=headers).status_code == 200
    with app.app_context():
        assert [queue.find(task_id).stop_asked for task_id in (others, own)] == [False, True]


def test_a_key_without_the_scope_is_told_which_it_lacks(client, made):
    reply = submitted(client, made("watcher", "read"))
    assert (reply.status_code, reply.json) == (403, {"detail": "The key watcher lacks the scope draw"})
    reply = client.get("/tasks", headers=made("kiosk", "draw"))
    assert (reply.status_code, reply.json) == (403, {"detail": "The key kiosk lacks the scope read"})


def test_a_body_is_not_read_before_the_scope_is(client, made):
    class Untouched:
        def read(self, *_):
            raise AssertionError("the body was read")

        readline = readlines = __iter__ = read

    unread = {"wsgi.input": Untouched(), "CONTENT_LENGTH": "10"}
    reply = client.post(GENERATE, environ_overrides=unread, headers=made("watcher", "read"))
    assert reply.status_code == 403


def test_what_is_not_marked_needs_read_to_look_and_admin_to_change():
    assert [scopes_of(print, method) for method in ("GET", "HEAD", "POST", "DELETE", "PUT", "MADE-UP")] == [
        *(("read",), ("read",)),
        *(("admin",), ("admin",), ("admin",), ("admin",)),
    ]


def test_the_document_tells_the_scopes(client):
    paths = client.get("/openapi.json").json["paths"]
    told = {
        name: {scope for way in paths[path][method]["security"] for scopes in way.values() for scope in scopes}
        for name, path, method in [
            ("draw", GENERATE, "post"),
            ("look", "/tasks/{task_id}", "get"),
            ("pause", "/v1/engine/queue/pause", "post"),
            ("replay", "/tasks/{task_id}/deliveries/{delivery}/replay", "post"),
        ]
    }
    assert told == {"draw": {"draw"}, "look": {"read", "draw"}, "pause": {"admin"}, "replay": {"draw"}}


@speaks_sql
def test_a_task_tells_which_key_submitted_it_and_no_secret(app, client, made):
    headers = made("studio", "read", "draw")
    reply = submitted(client, headers)
    assert reply.json["key_name"] == "studio"
    told = client.get(f"/tasks/{reply.json['task_id']}", headers=headers)
    assert told.json["key_name"] == "studio" and headers["X-API-KEY"] not in told.text
    with app.app_context():
        assert db.session.query(Task.key_name).scalar() == "studio"


@pytest.mark.parametrize(("setting", "name"), [({"API_KEY": "k"}, "API_KEY"), ({}, None)])
def test_the_configured_key_has_a_name_too_and_an_open_server_none(make_app, setting, name):
    reply = submitted(make_app(**setting).test_client(), {"X-API-KEY": "k"})
    assert (reply.status_code, reply.json["key_name"]) == (200, name)


@speaks_sql
def test_a_key_s_last_use_is_noted_once_a_minute(app, client, made):
    headers = made("studio", "read")
    assert rows(app)["studio"].used_mills is None
    client.get("/tasks", headers=headers)
    first = rows(app)["studio"].used_mills
    client.get("/tasks", headers=headers)
    assert rows(app)["studio"].used_mills == first
    with app.app_context():
        db.session.query(Key).update({"used_mills": first - keys.USED_EVERY})
        db.session.commit()
    client.get("/tasks", headers=headers)
    assert rows(app)["studio"].used_mills >= first


@pytest.mark.sqlite("the tests use PostgreSQL without a pool, whose connections are counted here")
def test_no_connection_is_held_after_the_key_was_looked_up(app, made):
    with app.test_request_context("/tasks", headers=made("studio", "read")):
        app.preprocess_request()
        assert callers.current().name == "studio"
        assert not db.session().in_transaction()
        assert db.engine.pool.checkedout() == 0


@speaks_sql
def test_the_same_idempotency_key_of_two_clients_is_two(client, made):
    same = {"Idempotency-Key": "1"}
    first, second = made("first", "draw") | same, made("second", "draw") | same
    ids = [submitted(client, headers).json["task_id"] for headers in (first, first, second)]
    assert ids[0] == ids[1] != ids[2]
    reply = submitted(client, second, prompt="a dog")
    assert reply.status_code == 422 and "'1'" in reply.json["detail"]


def test_a_key_that_may_not_read_uses_no_picture_by_guessing_its_name(app, client, made):
    path = "/outputs/" + picture(app, "cat.png")
    reader, drawer = made("reader", "read", "draw"), made("drawer", "draw")
    members = {"uov_input_image": path, "uov_method": "Vary (Subtle)"}
    told = submitted(client, reader, **members)
    assert told.status_code == 200
    reply = submitted(client, drawer, **members)
    assert reply.status_code == 422 and reply.json["detail"][0]["loc"] == ["body", "uov_input_image"]
    assert "token" in reply.json["detail"][0]["msg"]
    reply = client.post("/v1/tools/read-metadata", json={"image": path}, headers=drawer)
    assert reply.status_code == 422 and "token" in reply.json["detail"][0]["msg"]
    signed = told.json["req_params"]["uov_input_image"]
    assert submitted(client, drawer, **members | {"uov_input_image": signed}).status_code == 200
