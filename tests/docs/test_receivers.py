"""The receivers of webhooks that `docs/api.md` shows take what the server signed, and nothing else."""

import base64
import datetime as dt
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import gevent
import pytest
from standardwebhooks import Webhook

from fooocus_flask.database import db
from fooocus_flask.following import webhooks
from fooocus_flask.tables import Delivery
from fooocus_flask.tasks import queue
from tests.patience import CEILING, patience, patiently
from tests.serving import ROOT

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
LANGUAGES = {"python": (sys.executable, "receiver.py"), "js": ("node", "receiver.js")}


@pytest.fixture
def app(make_app):
    return make_app(WEBHOOK_SECRET=SECRET, ALLOW_PRIVATE_ADDRESSES=True, WEBHOOK_DELAYS=())


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def receiver(language, folder):
    """The page's receiver at work: its process and its URL."""
    program, name = LANGUAGES[language]
    assert shutil.which(program), f"{program} is not here; on Debian: apt-get install nodejs"
    page = (ROOT / "docs/api.md").read_text("utf-8")
    (folder / name).write_text(re.search(rf"```{language}\n(.*?)```", page, re.DOTALL).group(1), "utf-8")
    port = free_port()
    environment = os.environ | {"WEBHOOK_SECRET": SECRET, "PORT": str(port)}
    process = subprocess.Popen(
        [program, str(folder / name)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        wait_for(port)
        yield process, f"http://127.0.0.1:{port}/hook"
    finally:
        process.kill()
        process.communicate()


def wait_for(port):
    """Return once somebody listens on this port."""

    def attempt(seconds):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(seconds)
            return False
        return True

    patiently(attempt, "the receiver does not listen")


def status_of(url, headers, body):
    """What the receiver answers to this message."""
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=CEILING) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_receiver_takes_a_real_delivery(app, add, tmp_path, language):
    with receiver(language, tmp_path) as (process, url), app.app_context():
        task_id = add("running", webhook_url=url, result=["2024-07-05/cat.png"], notes=["Größe: 大"])
        queue.end(task_id, "finished")
        with patience():
            while webhooks.owed():
                gevent.sleep(0.01)
        assert db.session.query(Delivery).one().answer == "204"
        line = process.stdout.readline()
        while task_id not in line:  # Flask says first where it listens
            assert line, "the receiver ended"
            line = process.stdout.readline()
        assert "finished" in line and "/outputs/2024-07-05/cat.png" in line


def signed(body, moment):
    """The headers of a message that was signed at this moment."""
    signature = Webhook(SECRET).sign("msg_1", moment, body.decode())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(int(moment.timestamp())), "webhook-signature": signature}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_receiver_refuses_what_the_server_did_not_sign_or_signed_long_ago(tmp_path, language):
    body = json.dumps({"task_id": "1", "task_status": "finished", "result": []}).encode()
    now = dt.datetime.now(dt.UTC)
    good, old = signed(body, now), signed(body, now - dt.timedelta(seconds=400))
    with receiver(language, tmp_path) as (_, url):
        assert status_of(url, good, body) == 204
        assert status_of(url, good, body + b" ") == 401
        assert status_of(url, good | {"webhook-signature": "v1,AAAA"}, body) == 401
        assert status_of(url, good | {"webhook-timestamp": old["webhook-timestamp"]}, body) == 401
        assert status_of(url, old, body) == 401
        assert status_of(url, {"Content-Type": "application/json"}, body) == 401
        assert status_of(url, good, body) == 204
