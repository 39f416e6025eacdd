"""Input pictures are kept for as many days as the operator says, and as long as a task needs them.

Thumbnails are kept as long as their pictures, whoever deletes these.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path

import gevent
from flask import Flask, current_app
from sqlalchemy import select

from fooocus_flask.database import db
from fooocus_flask.extension import Extension
from fooocus_flask.pictures.blocking import in_thread
from fooocus_flask.pictures.folder_storage import INPUTS, OUTPUTS
from fooocus_flask.pictures.sent_pictures import pictures
from fooocus_flask.pictures.storage import storage
from fooocus_flask.pictures.thumbnails import thumbnails
from fooocus_flask.tables import PENDING, RUNNING, Task

log = logging.getLogger(__name__)

DAY = 24 * 3600.0
THUMBNAILS_PART = 8
"""Thumbnails may take one part in so many of what the copies of a bucket's pictures may."""
EVERY = 3600.0
"""Seconds from one sweep to the next."""


class RetentionSweeper:
    """Deletes one application's old input pictures, copies that are too many, and thumbnails without a picture.

    It does so once an hour.
    """

    def __init__(self, app: Flask) -> None:
        self.app = app
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin to sweep."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._sweep)

    def close(self) -> None:
        """Sweep no more."""
        gevent.kill(self._greenlet) if self._greenlet else None
        self._greenlet = None

    def sweep(self) -> None:
        """Delete all that there is to delete now."""
        with self.app.app_context():
            clean()
            trim()
            if not storage.current().remote:  # else most have no picture on this disk
                in_thread(thumbnails.current().sweep)

    def _sweep(self) -> None:
        while True:
            try:
                self.sweep()
            except Exception:  # a locked database, a folder that may not be read: this loop must outlive them
                log.exception("The pictures are looked at again in %.0f s", EVERY)
            gevent.sleep(EVERY)


sweeper = Extension("fooocus-retention", RetentionSweeper)


def clean() -> int:
    """Delete the pictures that nobody brought for so many days and no waiting task needs; how many."""
    days = current_app.config["INPUT_RETENTION_DAYS"]
    if days <= 0:
        return 0
    before = time.time() - days * DAY
    needed = needed_names()
    db.session.remove()
    return in_thread(remove_old, Path(current_app.config["INPUT_PATH"]), before, needed)


def trim() -> int:
    """Delete copies of pictures that a bucket has and no task under way needs, as far as they are too many; how many.

    Of thumbnails too, those that are too many go.

    Raises:
        StorageFault: the bucket does not take what was only here.
    """
    kept = storage.current()
    if not kept.remote:
        return 0
    running = db.session.scalars(select(Task.files).where(Task.task_status == RUNNING))
    needed = {f"{OUTPUTS}/{path}" for files in running for path in files or ()}
    needed |= {f"{INPUTS}/{name}" for name in needed_names()}
    db.session.remove()
    in_thread(thumbnails.current().trim, current_app.config["STORAGE_CACHE_BYTES"] // THUMBNAILS_PART)
    return kept.trim(needed)


def fetch_needed() -> None:
    """Have the pictures on this machine that tasks still to be drawn begin with: its disk may be another than theirs.

    Raises:
        StorageFault: the bucket does not give one.
    """
    kept = storage.current()
    names = needed_names() if kept.remote else ()
    db.session.remove()
    for name in names:
        kept.fetch(f"{INPUTS}/{name}")


def needed_names() -> set[str]:
    """The names of the pictures that tasks still to be drawn begin with."""
    waiting = select(Task.req_params).where(Task.task_status.in_((PENDING, RUNNING)))
    return {Path(path).name for params in db.session.scalars(waiting) for _, path in pictures(params)}


def remove_old(folder: Path, before: float, needed: Iterable[str]) -> int:
    """Delete the files last touched before a moment (Unix time), but not these; how many there were."""
    kept, count = frozenset(needed), 0
    for path in folder.glob("*"):
        try:
            if path.is_file() and path.name not in kept and path.stat().st_mtime < before:
                path.unlink()
                count += 1
        except FileNotFoundError:
            continue
    return count
