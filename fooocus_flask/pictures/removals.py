"""Deleted results that a bucket still has: a row for each, made with the deletion of its task, and worked off beside.

Rows first, objects after: what stays for a while is an object that nobody names, and never a name without its object.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import gevent
from flask import Flask, current_app
from gevent.event import Event
from sqlalchemy import delete, select
from sqlalchemy.exc import OperationalError

from engine.backoff import Backoff
from fooocus_flask.database import commit, db
from fooocus_flask.extension import Extension
from fooocus_flask.pictures.blocking import in_thread, remove
from fooocus_flask.pictures.folder_storage import OUTPUTS, StorageFault
from fooocus_flask.pictures.storage import storage
from fooocus_flask.pictures.thumbnails import thumbnails
from fooocus_flask.tables import StorageRemoval

log = logging.getLogger(__name__)

AT_ONCE = 100
"""Rows that are read together."""
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
"""Seconds before a bucket is asked again that did not delete; doubled each time."""


class RemovalWorker:
    """Deletes one application's objects that are owed to be deleted."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self._news = Event()
        self._greenlet: gevent.Greenlet | None = None

    def wake(self) -> None:
        """Look for rows; nothing where there is no bucket."""
        if not storage.of(self.app).remote:
            return
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._work)
        self._news.set()

    def close(self) -> None:
        """Delete no more; what is owed stays owed."""
        gevent.kill(self._greenlet) if self._greenlet else None
        self._greenlet = None

    def _work(self) -> None:
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        while True:
            self._news.wait()
            self._news.clear()
            try:
                with self.app.app_context():
                    while work_off():
                        backoff.reset()
            except (StorageFault, OperationalError) as error:
                seconds = backoff.next()
                log.error("Deleted pictures stay in the bucket for now; trying again in %.0f s: %s", seconds, error)
                gevent.sleep(seconds)
                self._news.set()


worker = Extension("fooocus-removals", RemovalWorker)


def owe(paths: Iterable[str]) -> None:
    """Note that these are to be deleted in the bucket, if there is one; part of the caller's transaction."""
    if storage.current().remote:
        db.session.add_all(StorageRemoval(path=path) for path in paths)


def is_owed(path: str) -> bool:
    """Whether this was deleted, and a bucket may have it still."""
    if not storage.current().remote:
        return False
    return db.session.scalar(select(StorageRemoval.id).where(StorageRemoval.path == path).limit(1)) is not None


def was_deleted(path: str) -> bool:
    """The same, for whoever asks the bucket next: no connection is held then, of which there are fewer than clients."""
    owed = is_owed(path)
    db.session.remove()
    return owed


def work_off() -> bool:
    """Delete some of what is owed, and what is left of it on this machine; whether there was something.

    Raises:
        StorageFault: the bucket does not do it; the rows that are left stay.
    """
    rows = db.session.execute(select(StorageRemoval.id, StorageRemoval.path).limit(AT_ONCE)).all()
    db.session.remove()  # nothing is held while the bucket is asked
    for number, path in rows:
        storage.current().delete(path)
        delete_here(path.removeprefix(f"{OUTPUTS}/"))
        db.session.execute(delete(StorageRemoval).where(StorageRemoval.id == number))
        commit()
    return bool(rows)


def delete_here(name: str) -> None:
    """Delete the copy and thumbnails of a deleted picture: its server may have ended before, or had it come since."""
    with suppress(OSError):  # a folder that may not be written
        in_thread(remove, [Path(current_app.config["OUTPUT_PATH"]) / name])
    in_thread(thumbnails.current().remove, [name])
