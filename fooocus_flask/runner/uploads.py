"""Pictures on their way into the bucket, and the tasks that have been drawn and end once theirs are there.

A task whose pictures are under way is still running: a server that dies has it drawn again, to the same pictures under
the same names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import monotonic

import gevent
from flask import Flask
from gevent.event import Event

from engine.backoff import Backoff
from fooocus_flask.extension import Extension
from fooocus_flask.pictures.folder_storage import OUTPUTS, StorageFault
from fooocus_flask.pictures.storage import storage

log = logging.getLogger(__name__)

FIRST_DELAY, LONGEST_DELAY = 0.5, 15.0
"""Seconds before an upload is tried again; doubled each time."""


class Uploads:
    """Those of one application; paths lie below the outputs folder."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self._pictures: dict[str, dict[str, gevent.Greenlet]] = {}
        """By task, each picture's upload, which gives why it failed."""
        self._ending: dict[str, gevent.Greenlet] = {}
        self._none = Event()
        self._none.set()

    @property
    def task_ids(self) -> frozenset[str]:
        """The tasks that are drawn, and have not ended yet."""
        return frozenset(self._ending)

    def begin(self, task_id: str, path: str) -> None:
        """Upload a picture that lies complete on this machine, beside whatever is drawn."""
        if storage.of(self.app).remote:
            self._pictures.setdefault(task_id, {})[path] = gevent.spawn(self._upload, path)

    def end(self, task_id: str, end: Callable[[dict[str, str]], object]) -> None:
        """Call `end` once the task's pictures are uploaded, with those that are not, and why; at once if none are."""
        pictures = self._pictures.pop(task_id, {})
        if not pictures:
            end({})
            return
        self._none.clear()
        self._ending[task_id] = gevent.spawn(self._end, task_id, pictures, end)

    def _end(self, task_id: str, pictures: dict[str, gevent.Greenlet], end: Callable[[dict[str, str]], object]) -> None:
        try:
            gevent.joinall(list(pictures.values()))
            end({path: upload.value for path, upload in pictures.items() if upload.value})
        except Exception:  # the row stays as it is, and the task is drawn again
            log.exception("The task %s cannot be ended", task_id)
        finally:
            self._ending.pop(task_id, None)
            if not self._ending:
                self._none.set()

    def forget(self, task_id: str) -> None:
        """Drop what was begun of a task that is drawn again."""
        gevent.killall(list(self._pictures.pop(task_id, {}).values()))

    def drain(self, seconds: float) -> bool:
        """Wait this long for the tasks that only their uploads keep from ending; whether they have."""
        return bool(self._none.wait(seconds))

    def close(self) -> frozenset[str]:
        """End all uploads; the tasks that are left in the middle."""
        left = self.task_ids
        gevent.killall([*self._ending.values(), *(one for task in self._pictures.values() for one in task.values())])
        self._pictures.clear()
        return left

    def _upload(self, path: str) -> str:
        """Upload a picture, again and again for so long; why it failed, empty if it did not."""
        kept, backoff = storage.of(self.app), Backoff(FIRST_DELAY, LONGEST_DELAY)
        deadline = monotonic() + self.app.config["STORAGE_PATIENCE"]
        while True:
            try:
                kept.put(f"{OUTPUTS}/{path}")
                return ""
            except StorageFault as fault:
                reason = fault.reason
            except OSError as error:
                return str(error)
            if monotonic() + backoff.seconds > deadline:
                log.error("The picture %s stays on this machine alone: %s", path, reason)
                return reason
            log.warning("The picture %s is uploaded again in %.1f s: %s", path, backoff.seconds, reason)
            gevent.sleep(backoff.next())


uploads = Extension("fooocus-uploads", Uploads)


def not_uploaded(failed: Mapping[str, str]) -> str:
    """Why a task failed whose pictures these are that stay on this machine alone."""
    names, reason = ", ".join(failed), next(iter(failed.values()))
    return (
        f"The object storage did not take {names}, which lie in the outputs folder of the server: {reason}. Mend the "
        "storage, then `flask --app wsgi storage sync` uploads them"
    )
