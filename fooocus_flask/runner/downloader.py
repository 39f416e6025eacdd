"""Brings the model files that tasks and clients wait for, and lets those go on who have all of theirs.

What a task waits for stands in its row, so a restart goes on where the last server ended. A client that waits for a
mask or a description has no row; if it goes away, the file comes all the same.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gevent
from flask import Flask
from gevent.event import AsyncResult, Event
from sqlalchemy import null, select

from engine.files.downloads import DownloadError, NoSpace, Unreachable, shown
from engine.files.known_files import KnownFile
from engine.interruption import Stopped
from engine.required_files import Need
from fooocus_flask import signals
from fooocus_flask.database import FRESH, commit, db
from fooocus_flask.errors import FooocusError
from fooocus_flask.extension import Extension
from fooocus_flask.model_files.awaited_file import Awaited, from_row, to_row
from fooocus_flask.model_files.fleet_files import comes_from_fleet
from fooocus_flask.model_files.folders import model_catalogue
from fooocus_flask.model_files.host_backoff import Hosts
from fooocus_flask.model_files.transfers import transfers
from fooocus_flask.submission.draft import Draft
from fooocus_flask.submission.required_files import leave_out
from fooocus_flask.tables import FAILED, PENDING, Task
from fooocus_flask.tasks import failures, queue

log = logging.getLogger(__name__)

TELL_EVERY = 0.5
"""Seconds between two looks at how far the files are."""
RETRY = 1.0
"""Seconds before the database is asked again that could not be."""
MOST_CLIENTS = 16
"""Clients without a task that may wait."""
WAITING = (Task.task_status == PENDING, Task.downloads.is_not(null()))
NOT_ALLOWED = "which was started without --allow-downloads; it can be had from"
NO_FLEET = "which was started without the fleet that had it; start it with --fleet, or put the file there"
STOPPING = "The server is stopping; what came of the model file is kept"


class NotAllowed(DownloadError):
    """Nothing is fetched on this server."""


class Downloader:
    """The files that one application's tasks and clients wait for."""

    def __init__(self, app: Flask) -> None:
        self.app, self.hosts = app, Hosts()
        self._transfers = transfers.of(app)
        self._clients: dict[AsyncResult, Awaited] = {}
        self._waiting: dict[str, list[Awaited]] = {}
        self._said: dict[str, str] = {}
        self._news = Event()
        self._greenlet: gevent.Greenlet | None = None
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything, and nothing is on its way."""
        return not (self._waiting or self._clients or len(self._transfers))

    def wake(self) -> None:
        """See who waits for what, now."""
        self._news.set()
        if self._greenlet is None and not self._closed:
            self._greenlet = gevent.spawn(self._work)

    def close(self) -> None:
        """Stop; the next start goes on from here."""
        self._closed = True
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is not None:
            greenlet.kill()
        self._transfers.close()
        for waiting in list(self._clients):
            waiting.set_exception(FooocusError(STOPPING, status=503))

    def have(self, files: Sequence[Awaited]) -> None:
        """Wait until these files are here.

        Raises:
            FooocusError: one of them cannot be had, too many clients wait, or the server stops.
        """
        for file in files:
            if len(self._clients) >= MOST_CLIENTS:
                text = f"{MOST_CLIENTS} clients are waiting for model files, which is the limit; try again later"
                raise FooocusError(text, status=429, headers={"Retry-After": "30"})
            waiting = AsyncResult()
            self._clients[waiting] = file
            self.wake()
            db.session.remove()  # nothing may be held while a file takes its time
            try:
                waiting.get()
            finally:
                self._clients.pop(waiting, None)

    def _work(self) -> None:
        while True:
            try:
                with self.app.app_context():
                    if self._news.is_set():
                        self._news.clear()
                        self._settle()
                        self._attend()
                    self._send_progress()
            except Exception:  # a locked database, a full disk: this loop must outlive them
                log.exception("The downloads are looked at again in %.0f s", RETRY)
                self._news.set()
                gevent.sleep(RETRY)
            self._news.wait(TELL_EVERY if len(self._transfers) else None)

    def _settle(self) -> None:
        """Tell those who wait what became of the transfers that are over."""
        for transfer in self._transfers:
            if not transfer.over:
                continue
            error = transfer.outcome
            if error is None:
                log.info("Downloaded %s", transfer.target)
                self.hosts.answered(transfer.file.url)
                self._arrived(transfer.file, transfer.target)
            elif not isinstance(error, Stopped):
                self._failed(transfer.file, self._remembered(transfer.file, error))
            self._transfers.forget(transfer)

    def _remembered(self, file: KnownFile, error: Exception) -> Exception:
        """The failure, once it is kept in mind whether the file's host can be reached; if not, it tells until when."""
        if not isinstance(error, Unreachable):
            self.hosts.answered(file.url)
            return error
        self.hosts.failed(file.url)
        return self._unreachable(file, str(error))

    def _unreachable(self, file: KnownFile, text: str) -> Unreachable:
        return Unreachable(f"{text}; {self.hosts.sentence(file.url, dt.datetime.now(dt.UTC))}")

    def _attend(self) -> None:
        """Fetch what is waited for, the first task's first; end what nobody waits for any more."""
        catalogue = model_catalogue(self.app)
        for file in self._wanted(awaited()):
            if path := catalogue.find(*file.place):
                self._arrived(file, path)
            elif comes_from_fleet(file):
                if not self.app.config["FLEET"]:  # left by a server that had one; else a machine that has it may come
                    self._failed(file, NotAllowed(f"{file.name} is not on this server, {NO_FLEET}"))
            elif not self.app.config["ALLOW_DOWNLOADS"]:  # left by a server that was allowed to
                self._failed(file, NotAllowed(f"{file.name} is not on this server, {NOT_ALLOWED} {shown(file.url)}"))
            elif self.hosts.held(file.url) and self._transfers.find(file.place) is None:
                text = f"{file.name} cannot be fetched from {shown(file.url)}: it could not be reached a while ago"
                self._failed(file, self._unreachable(file, text))
        self._waiting = awaited()
        wanted = self._wanted(self._waiting)
        places = {file.place for file in wanted}
        for transfer in self._transfers:
            if transfer.file.place not in places:
                transfer.stop()
        for file in wanted:
            self._transfers.begin(file, catalogue.target(*file.place), self.wake)

    def _wanted(self, waiting: Mapping[str, list[Awaited]]) -> list[Awaited]:
        """The files waited for, each once; first those of clients who hold a connection open for nothing else."""
        files = [*self._clients.values(), *(file for files in waiting.values() for file in files)]
        return list({file.place: file for file in reversed(files)}.values())[::-1]

    def _arrived(self, file: KnownFile, path: Path) -> None:
        """Let those go on who waited for nothing else."""
        rows = waiting_for(file)
        for task, _ in rows:
            go_on(task, file)
            if file.place == ("checkpoints", task.params.base_model_name.replace("\\", "/")):
                task.checkpoint = str(path)  # somebody may have put it into another of several folders
        if rows:
            self._let_go_on()
        for waiting in self._looking_for(file):
            waiting.set()

    def _failed(self, file: KnownFile, error: Exception) -> None:
        """Give up those who wait for this file; those who can spare it go on without."""
        failure = failures.SPACE if isinstance(error, NoSpace) else failures.DOWNLOAD
        known = isinstance(error, DownloadError)
        text = str(error) if known else f"{file.name} cannot be fetched from {shown(file.url)}: {type(error).__name__}"
        log.warning("Not downloaded: %s", text, exc_info=None if known else error)
        rows = waiting_for(file)
        spared = [(task, wanted) for task, wanted in rows if wanted.spare]
        for task, wanted in spared:
            go_on_without(task, wanted, text)
        if spared:
            self._let_go_on()
        for task_id in [task.task_id for task, wanted in rows if not wanted.spare]:
            queue.end(task_id, FAILED, only=PENDING, error=text, failure=failure)
        for waiting in self._looking_for(file):
            waiting.set_exception(FooocusError(text, status=failures.status_of(failure)))

    def _let_go_on(self) -> None:
        """Keep what changed in the rows, and say that some of them may be drawn now."""
        commit()
        signals.send(signals.files_arrived, self.app)

    def _looking_for(self, file: KnownFile) -> list[AsyncResult]:
        """The clients that wait for this file; they wait no longer."""
        found = [waiting for waiting, other in self._clients.items() if other.place == file.place]
        for waiting in found:
            del self._clients[waiting]
        return found

    def _send_progress(self) -> None:
        """Say of each task how far its files are, if that has changed."""
        said, self._said = self._said, {}
        for task_id, files in self._waiting.items():
            text = self._said[task_id] = self._sentence(files)
            if text != said.get(task_id):
                progress = {"percent": 0, "message": text, "preview": b""}
                signals.send(signals.task_progressed, self.app, task_id=task_id, **progress)

    def _sentence(self, files: Sequence[Awaited]) -> str:
        """How far a task's files are, for people."""
        under_way = (transfer for file in files if (transfer := self._transfers.find(file.place)))
        transfer = next(under_way, None)
        text = transfer.sentence() if transfer else f"Waiting to download {files[0].name}"
        return f"{text}; {len(files) - 1} more to come" if len(files) > 1 else text


downloader = Extension("fooocus-downloader", Downloader)
"""It starts when serving begins, or with the first who waits."""


@signals.task_submitted.connect
def begin(app: Flask, task: Task, **_: Any) -> None:
    """Fetch what a new task waits for."""
    if task.downloads:
        downloader.of(app).wake()


@signals.task_ended.connect
def end(app: Flask, **_: Any) -> None:
    """See whether anybody still waits for what this task may have waited for."""
    if not downloader.of(app).idle:
        downloader.of(app).wake()


def awaited() -> dict[str, list[Awaited]]:
    """What each waiting task waits for, by task id, the next task first."""
    waiting = select(Task.task_id, Task.downloads).where(*WAITING).order_by(Task.rank, Task.id)
    return {task_id: from_row(downloads) for task_id, downloads in db.session.execute(waiting)}


def waiting_for(file: KnownFile) -> list[tuple[Task, Awaited]]:
    """The tasks that wait for this file, and how."""
    rows = db.session.scalars(select(Task).where(*WAITING), execution_options=FRESH).all()
    waiting = ((task, other) for task in rows for other in from_row(task.downloads))
    return [(task, other) for task, other in waiting if other.place == file.place]


def go_on(task: Task, file: KnownFile) -> None:
    """Wait for this file no longer; the caller commits."""
    task.downloads = to_row(other for other in from_row(task.downloads) if other.place != file.place)


def go_on_without(task: Task, file: Awaited, why: str) -> None:
    """Draw without a file that cannot be had and that nobody insisted on; the caller commits."""
    draft = Draft(task.params)
    leave_out(draft, Need(file.kind, file.name, file.spare or ""), why)
    task.req_params, task.notes = draft.params.to_dict(), [*task.notes, *draft.notes]
    go_on(task, file)
