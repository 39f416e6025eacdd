"""Pictures in a bucket, against a real S3 server: what is put there, handed out, deleted, and what faults do."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gevent
import pytest
from PIL import Image

from engine.images import reading
from fooocus_flask import start
from fooocus_flask.database import db
from fooocus_flask.errors import StartError
from fooocus_flask.pictures import removals, retention
from fooocus_flask.pictures.storage import storage
from fooocus_flask.pictures.thumbnails import thumbnails
from tests import postgresql
from tests.conftest import picture
from tests.gateway import BUCKET, KEY, SECRET, Gateway, binary
from tests.patience import patiently
from tests.serving import GENERATE, ROOT, halted, small

speaks_sql = pytest.mark.sql("pictures/removals")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A gateway that the tests leave running."""
    program = binary()
    if program is None:
        pytest.skip("no S3 server is installed; run `make clients`")
    pytest.importorskip("boto3", reason="boto3 is not installed; run `make install` or `pip install boto3`")
    made = Gateway(tmp_path_factory.mktemp("gateway"), program)
    yield made
    made.stop()


@pytest.fixture
def gateway(shared, monkeypatch):
    """The gateway, running and empty, whose keys are in the environment as RunPod names them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BUCKET_ENDPOINT_URL", f"{shared.url}/{BUCKET}")
    monkeypatch.setenv("BUCKET_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("BUCKET_SECRET_ACCESS_KEY", SECRET)
    if shared.process.poll() is not None:
        shared.start()
    for name in shared.names():
        shared.client().delete_object(Bucket=BUCKET, Key=name)
    return shared


SETTINGS = {"STORAGE_URL": f"s3://{BUCKET}/v1", "S3_ADDRESSING": "path"}
VARIABLES = {f"FOOOCUS_{name}": value for name, value in SETTINGS.items()}


@pytest.fixture
def app(gateway, make_app):
    """An application whose pictures lie in the bucket."""
    return make_app(**SETTINGS)


def loaded(url: str, method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Whatever answers at a URL."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    connection.request(method, f"{parts.path}?{parts.query}", headers=headers)
    answer = connection.getresponse()
    try:
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def kept(app, name="cat.png") -> tuple[str, bytes]:
    """A result that lies in the bucket alone: its path below the outputs folder, and its bytes."""
    path = picture(app, name)
    file = Path(app.config["OUTPUT_PATH"]) / path
    data = file.read_bytes()
    with app.app_context():
        storage.current().put(f"outputs/{path}")
    file.unlink()
    return path, data


def png(colour: str = "blue") -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    Image.new("RGB", (16, 8), colour).save(file, "PNG")
    return file.getvalue()


def brought(image: str) -> dict[str, Any]:
    """A request with a picture, whose task is drawn later."""
    return small(uov_input_image=image, uov_method="Vary (Subtle)", async_process=True)


def test_a_result_is_found_by_a_signed_url_of_the_bucket(app, client):
    path, data = kept(app, "cät & dog.png")
    answer = client.get(f"/outputs/{path}")
    assert answer.status_code == 302
    assert answer.headers["Cache-Control"] == "private, max-age=840"
    status, headers, body = loaded(answer.location)
    assert (status, body) == (200, data)
    assert headers["Content-Type"] == "image/png"
    assert "filename*=UTF-8''c%C3%A4t%20%26%20dog.png" in headers["Content-Disposition"]
    assert loaded(answer.location, Range="bytes=0-3")[::2] == (206, data[:4])
    assert client.get(f"/files/{path}").status_code == 302


def test_a_signed_url_that_is_changed_or_old_opens_nothing(app, client):
    path, _ = kept(app)
    url = client.get(f"/outputs/{path}").location
    other, _ = kept(app, "dog.png")
    assert loaded(url.replace("cat.png?", "dog.png?"))[0] == 403
    assert loaded(re.sub("X-Amz-Expires=900", "X-Amz-Expires=90000", url))[0] == 403
    assert loaded(url.partition("?")[0])[0] == 403
    short = followed(app, f"outputs/{other}")
    patiently(lambda seconds: gevent.sleep(seconds) or loaded(short)[0] == 403, "a URL of a second works for ever")


def followed(app, key, seconds=1):
    """A URL of so many seconds that opened its picture; of more where the machine was too busy to follow it in time."""
    assert seconds < 900, "no URL of a few minutes opens anything"
    with app.app_context():
        url = storage.current().bucket.link(key, "image/png", seconds)
    return url if loaded(url)[0] == 200 else followed(app, key, 2 * seconds)


def test_other_formats_and_head_are_answered_here(app, client):
    path, data = kept(app)
    head = client.head(f"/outputs/{path}")
    assert (head.status_code, head.content_length) == (200, len(data))
    assert client.get(f"/outputs/{path}", headers={"Accept": "image/webp"}).data[8:12] == b"WEBP"
    for page in ({"Referer": "http://localhost/ui/"}, {"Sec-Fetch-Dest": "empty"}):  # may not follow, or not read
        assert client.get(f"/outputs/{path}", headers=page).data == data
    assert client.get(f"/outputs/{path}", headers={"Referer": "http://other.org/ui/"}).status_code == 302
    small_one = client.get(f"/outputs/{path}?w=320")
    assert (small_one.status_code, small_one.mimetype) == (200, "image/webp")
    assert client.get("/outputs/2024-07-05/none.png").status_code == 404
    assert client.get("/outputs/2024-07-05/..%2f..%2fdb.png").status_code == 404


def test_pictures_are_passed_through_where_so_configured(gateway, make_app):
    app = make_app(**SETTINGS, STORAGE_SERVE="proxy")
    path, data = kept(app)
    answer = app.test_client().get(f"/outputs/{path}")
    assert (answer.status_code, answer.data) == (200, data)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@speaks_sql
def test_no_connection_of_the_database_is_held_while_the_bucket_is_asked(gateway, make_app):
    one = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 1}
    app = make_app(**SETTINGS, STORAGE_SERVE="proxy", SQLALCHEMY_ENGINE_OPTIONS=one)
    path, data = kept(app)
    with halted(gateway.process.pid):
        asking = gevent.spawn(app.test_client().get, f"/outputs/{path}")
        turns = storage.of(app).bucket.turns
        patiently(lambda seconds: gevent.sleep(seconds) or turns.free < turns.places, "the bucket is not asked")
        assert app.test_client().get("/tasks").status_code == 200
    assert asking.get().data == data


def test_clients_are_sent_to_the_address_that_they_can_reach(gateway, make_app):
    app = make_app(**SETTINGS, S3_PUBLIC_URL="https://pictures.example.org")
    path, _ = kept(app)
    assert app.test_client().get(f"/outputs/{path}").location.startswith("https://pictures.example.org/pictures/v1/")


def test_a_result_needs_its_token_before_the_bucket_is_asked(gateway, make_app):
    app = make_app(**SETTINGS, API_KEY="k")
    path, _ = kept(app)
    answer = app.test_client().get(f"/outputs/{path}")
    assert (answer.status_code, "Location" in answer.headers) == (403, False)


def test_an_input_lies_in_the_bucket_before_its_task_does(app, client, gateway):
    sent = brought(base64.b64encode(png()).decode())
    assert client.post(GENERATE, json=sent).status_code == 200
    [name] = gateway.names()
    reference = name.removeprefix("v1")
    file = Path(app.config["INPUT_PATH"]) / Path(reference).name
    file.unlink()
    assert loaded(client.get(reference).location)[2] == png()
    again = client.post(GENERATE, json=brought(f"http://localhost{reference}"))
    assert again.status_code == 200
    assert file.read_bytes() == png()


@speaks_sql
def test_deleting_a_task_deletes_its_objects(app, client, add, gateway):
    task_id = add(pictures=2)
    with app.app_context():
        for number in range(2):
            storage.current().put(f"outputs/2024-07-05/{task_id}-{number}.png")
    gateway.stop()
    assert client.delete(f"/tasks/{task_id}").status_code == 200
    with app.app_context():
        assert removals.is_owed(f"outputs/2024-07-05/{task_id}-0.png")
    assert client.get(f"/outputs/2024-07-05/{task_id}-0.png").status_code == 404
    gateway.start()
    patiently(lambda seconds: gevent.sleep(seconds) or not gateway.names(), "the objects stay")
    patiently(lambda seconds: gevent.sleep(seconds) or not still_owed(app), "the rows stay")


def still_owed(app) -> bool:
    with app.app_context():
        return removals.work_off()


@speaks_sql
def test_what_a_server_leaves_of_a_deleted_picture_that_ends_too_early_goes_with_the_object(app, client, add, gateway):
    task_id = add(pictures=1)
    path = f"2024-07-05/{task_id}-0.png"
    with app.app_context():
        storage.current().put(f"outputs/{path}")
    assert client.get(f"/outputs/{path}?w=160").status_code == 200
    copy, thumbnail = Path(app.config["OUTPUT_PATH"]) / path, thumbnails.of(app).path(path, 160)
    with app.app_context():
        removals.owe([f"outputs/{path}"])  # killed once this was committed
        db.session.commit()
        assert removals.work_off() and not removals.work_off()
    assert (gateway.names(), copy.exists(), thumbnail.exists()) == ([], False, False)
    assert client.get(f"/outputs/{path}?w=160").status_code == 404


@speaks_sql
def test_copies_that_are_too_many_go_and_none_that_is_here_alone(gateway, make_app):
    app = make_app(**SETTINGS, STORAGE_CACHE_BYTES=1)
    paths = [picture(app, f"{number}.png") for number in range(3)]
    files = [Path(app.config["OUTPUT_PATH"]) / path for path in paths]
    for file in files[:2]:
        os.utime(file, (0, 1234567890.5))
    with app.app_context():
        assert retention.trim() == 2
    assert [file.exists() for file in files] == [False, False, True]  # the third was just used
    assert len(gateway.names()) == 2
    assert app.test_client().head(f"/outputs/{paths[0]}").status_code == 200
    assert files[0].stat().st_mtime == 1234567890.5


def test_a_thumbnail_needs_its_picture_once(app, client, gateway):
    path, _ = kept(app)
    first = client.get(f"/outputs/{path}?w=160")
    file = Path(app.config["OUTPUT_PATH"]) / path
    file.unlink()
    retention.sweeper.of(app).sweep()
    gateway.stop()  # which nobody asks any more
    again = client.get(f"/outputs/{path}?w=160")
    assert (again.status_code, again.data) == (200, first.data)
    assert client.get(f"/outputs/{path}?w=160", headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    assert not file.exists()
    assert client.get(f"/outputs/{path}?w=320").status_code == 503
    assert client.get("/outputs/..%2f160/2024-07-05/cat.png?w=160").status_code == 404


def test_thumbnails_that_are_too_many_go_the_last_used_of_all_last(gateway, make_app):
    app = make_app(**SETTINGS)
    client, folder = app.test_client(), thumbnails.of(app)
    paths = [kept(app, f"{number}.png")[0] for number in range(3)]
    for path in paths:
        assert client.get(f"/outputs/{path}?w=160").status_code == 200
    for path in paths:
        os.utime(folder.path(path, 160), (0, folder.path(path, 160).stat().st_mtime))
        (Path(app.config["OUTPUT_PATH"]) / path).unlink()
    assert client.get(f"/outputs/{paths[1]}?w=160").status_code == 200
    size = folder.path(paths[1], 160).stat().st_size
    app.config["STORAGE_CACHE_BYTES"] = size * retention.THUMBNAILS_PART
    with app.app_context():
        retention.trim()
    assert [folder.path(path, 160).exists() for path in paths] == [False, True, False]


def test_a_thumbnail_was_used_when_it_was_made_or_shown(gateway, make_app):
    app = make_app(**SETTINGS)
    made, path = thumbnails.of(app), picture(app, "old.png")
    file = Path(app.config["OUTPUT_PATH"]) / path
    os.utime(file, (0, 1234567890))
    for _ in range(2):
        thumbnail = made.have(file, path, 160)
        assert thumbnail.stat().st_atime > 1234567890
        os.utime(thumbnail, (0, 1234567890))


def test_a_link_that_leads_out_of_the_folder_is_not_uploaded(app, gateway, tmp_path):
    place = (Path(app.config["OUTPUT_PATH"]) / picture(app, "cat.png")).parent
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    (place / "link.png").symlink_to(secret)
    done = app.test_cli_runner().invoke(args=["storage", "sync"])
    assert done.output.splitlines()[-1] == "1 copied, 0 were there"
    assert [name.rpartition("/")[2] for name in gateway.names()] == ["cat.png"]


def test_what_a_bucket_refuses_ends_the_start_with_a_sentence(gateway, make_app, tmp_path, monkeypatch):
    with pytest.raises(StartError, match="bucket of STORAGE_URL refuses"):
        start(make_app(STORAGE_URL="s3://nobodys-bucket", S3_ENDPOINT_URL=gateway.url, S3_ADDRESSING="path"))
    monkeypatch.setenv("BUCKET_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(StartError, match="SignatureDoesNotMatch"):
        start(make_app(INSTANCE=tmp_path / "other", **SETTINGS))


def test_without_an_answer_inputs_are_refused_for_now_and_tasks_are_not(app, client, gateway):
    gateway.stop()
    refused = client.post(GENERATE, json=brought(base64.b64encode(png()).decode()))
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
    assert "object storage" in refused.json["detail"]
    assert client.post(GENERATE, json=small(async_process=True)).status_code == 200
    here = picture(app, "here.png")
    assert client.get(f"/outputs/{here}").status_code == 200
    assert client.get("/outputs/2024-07-05/there.png").status_code == 503


def test_a_server_draws_into_the_bucket_through_an_outage_and_is_killed_in_an_upload(gateway, make_server):
    server = make_server(**VARIABLES).ready()
    whole = server.ask("POST", GENERATE, small(image_number=2)).json
    assert whole["task_status"] == "finished"
    names = [urlsplit(url).path.removeprefix("/outputs/") for url in whole["result"]]
    assert gateway.names() == sorted(f"v1/outputs/{name}" for name in names)
    day = names[0].partition("/")[0]
    assert not (server.instance / "outputs" / day / "log.html").exists()
    page = server.get(f"/outputs/{day}/log.html").body.decode()
    assert all(f"/outputs/{name}" in page for name in names)
    file = server.instance / "outputs" / names[0]
    assert loaded(server.get(f"/outputs/{names[0]}").headers["Location"])[2] == file.read_bytes()

    gateway.stop()
    task_id = server.submit(image_number=4, image_seed=8)
    server.said("is uploaded again")
    assert server.get(f"/tasks/{task_id}").json["task_status"] == "running"
    gateway.start()
    record = server.ended(task_id)
    assert (record["task_status"], len(record["result"])) == ("finished", 4)
    stored = gateway.names()
    assert len(stored) == 6

    gateway.stop()
    lines = len(server.lines)
    lost = server.submit(image_number=2, image_seed=20)
    server.said(r"_\d+\.png is uploaded again in 1", lines)
    server.stop(signal.SIGKILL)
    server.environment["FOOOCUS_STORAGE_PATIENCE"] = "1"
    server.start()
    record = server.ended(lost)  # drawn again
    assert server.get("/ready").json["state"] == "storage"
    assert (record["task_status"], len(record["result"])) == ("failed", 2)
    assert "outputs folder" in record["error"]
    files = [server.instance / urlsplit(url).path[1:] for url in record["result"]]
    assert all(reading.size(file.read_bytes()) == (64, 64) for file in files)
    gateway.start()
    assert gateway.names() == stored


def test_a_folder_is_moved_into_the_bucket_and_back(app, gateway):
    def sync(*options: str) -> str:
        done = app.test_cli_runner().invoke(args=["storage", "sync", *options])
        assert done.exit_code == 0, done.output
        return done.output.splitlines()[-1]

    path = picture(app, "cat.png")
    file = Path(app.config["OUTPUT_PATH"]) / path
    data = file.read_bytes()
    assert sync() == "1 copied, 0 were there"
    assert gateway.names() == [f"v1/outputs/{path}"]
    assert loaded(app.test_client().get(f"/outputs/{path}").location)[2] == data
    file.unlink()
    assert sync("--back") == "1 copied, 0 were there"
    assert file.read_bytes() == data
    assert sync() == "0 copied, 1 were there"


def test_sync_says_what_it_lacks(make_app):
    done = make_app().test_cli_runner().invoke(args=["storage", "sync"])
    assert (done.exit_code, "STORAGE_URL is empty" in done.output) == (1, True)


def test_the_names_that_runpod_has_are_taken_as_they_are():
    bucket = pytest.importorskip("fooocus_flask.pictures.bucket")
    for url in ("https://s3.example.org", "https://pictures.s3.example.org", "https://s3.example.org/pictures/"):
        assert bucket.without_bucket(url, "pictures") == "https://s3.example.org"
    told = {"BUCKET_ACCESS_KEY_ID": "a", "BUCKET_SECRET_ACCESS_KEY": "b"}
    assert bucket.credentials(told) == {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    assert bucket.credentials(told | {"AWS_ACCESS_KEY_ID": "c"}) == {}


def test_a_setting_that_names_no_bucket_ends_the_start(make_app):
    pytest.importorskip("boto3")
    for wrong in ("pictures", "s3://", "http://pictures", "s3://key@pictures"):
        with pytest.raises(StartError, match="s3://BUCKET"):
            make_app(STORAGE_URL=wrong)


def test_without_a_bucket_its_library_is_not_imported(database, tmp_path):
    script = (
        "import sys, fooocus_flask; fooocus_flask.create_app();"
        "print([name for name in sys.modules if name.split('.')[0] in ('boto3', 'botocore', 's3transfer')])"
    )
    place = {"FOOOCUS_INSTANCE": str(tmp_path)} | postgresql.environment(tmp_path)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=os.environ | place, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == []


def test_the_checksums_that_boto3_adds_by_itself_are_why_its_setting_stands(gateway):
    """Its own default asks for a trailer of the gateway's kin that they do not all know."""
    own = gateway.client()
    told = []
    own.meta.events.register("before-send.s3.PutObject", lambda request, **_: told.append(dict(request.headers)))
    own.put_object(Bucket=BUCKET, Key="own", Body=b"x")
    ours = gateway.client(request_checksum_calculation="when_required")
    ours.meta.events.register("before-send.s3.PutObject", lambda request, **_: told.append(dict(request.headers)))
    ours.put_object(Bucket=BUCKET, Key="ours", Body=b"x")
    checksums = [[name for name in headers if "checksum" in name.lower()] for headers in told]
    assert checksums[0] and not checksums[1]
