"""A full disk, wherever it is met: 507 with a sentence, and nothing half-written."""

import errno
import os
from pathlib import Path

import pytest
from sqlalchemy import event

from fooocus_flask.database import db
from fooocus_flask.errors import is_database_full
from tests.serving import GENERATE, small

pytestmark = pytest.mark.sql("errors")
TINY = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_picture_that_the_disk_has_no_room_for_is_507(app, client, monkeypatch, code):
    def full(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    reply = client.post(GENERATE, json=small(uov_input_image=TINY, uov_method="Vary (Subtle)"))
    assert reply.status_code == 507 and "free some space" in reply.json["detail"]
    assert list(Path(app.config["INPUT_PATH"]).iterdir()) == []
    assert client.get("/tasks").json == {"history": [], "current": [], "pending": []}


def test_another_error_of_the_system_is_no_full_disk(make_app, monkeypatch):
    def broken(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    client = make_app(PROPAGATE_EXCEPTIONS=False).test_client()
    assert client.post(GENERATE, json=small(uov_input_image=TINY, uov_method="Vary (Subtle)")).status_code == 500


@pytest.mark.sqlite("its limit of pages stands for a full disk")
def test_a_database_that_the_disk_has_no_room_for_is_507(app, client):
    with app.app_context():
        event.listen(db.engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count=1"))
        db.engine.dispose()
    reply = client.post(GENERATE, json=small(async_process=True, prompt="a cat " * 3000))
    assert reply.status_code == 507 and "free some space" in reply.json["detail"]
    assert client.get("/tasks").json["pending"] == []


def test_what_postgresql_says_of_a_full_disk_is_known():
    psycopg = pytest.importorskip("psycopg")
    assert is_database_full(psycopg.errors.DiskFull()) and not is_database_full(psycopg.errors.AdminShutdown())
