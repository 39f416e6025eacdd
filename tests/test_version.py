"""The version stands in one place, and everything that tells it tells the same."""

import re
import subprocess
import sys

import pytest

from fooocus_flask.following import webhooks
from fooocus_flask.pictures import fetching
from fooocus_flask.version import VERSION
from tests.serving import ROOT


@pytest.mark.parametrize(("command", "told"), [("setup.py", VERSION), ("wsgi.py", f"fooocus-flask {VERSION}")])
def test_packaging_and_command_line_tell_it(command, told, monkeypatch):
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    run = [sys.executable, command, "--version"]
    assert subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip() == told


def test_the_openapi_document_tells_it(client):
    assert client.get("/openapi.json").json["info"]["version"] == VERSION


def test_a_task_s_record_tells_which_version_drew_it(server):
    assert server.draw().json["drawn_with"] == {
        "checkpoint": "toy.safetensors",
        "builtin": False,
        "memory": {"plan": "resident"},
        "prompt_tokens": 2,
        "version": VERSION,
    }


def test_requests_of_the_server_tell_it(app):
    message = webhooks.WebhookMessage("https://example.com", "msg_1", "ended", b"{}", None)
    with app.app_context():
        assert webhooks.headers(message)["User-Agent"] == f"fooocus-flask/{VERSION}"
    assert f"fooocus-flask/{VERSION}" in fetching.HEADERS["User-Agent"]


def test_the_changelog_s_newest_release_is_this_version():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## \[(.+)\] - \d{4}-\d{2}-\d{2}$", text, re.MULTILINE)
    assert released[0] == VERSION
    assert text.index("## [Unreleased]") < text.index(f"## [{VERSION}]")
