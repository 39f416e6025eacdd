"""Work that would hold up the hub: done in a thread; files written whole or not at all."""

from __future__ import annotations

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import gevent
from gevent.event import Event
from gevent.hub import Hub
from gevent.threadpool import ThreadPool

Outcome = TypeVar("Outcome")


def in_thread(work: Callable[..., Outcome], *arguments: Any) -> Outcome:
    """The outcome of work that would hold up the hub, done in a thread; what it raises is raised here."""
    hub = gevent.get_hub()
    if hub not in _turns:
        _turns[hub] = Turns(hub.threadpool.maxsize)
    return in_pool(hub.threadpool, _turns[hub], work, *arguments)


def in_pool(pool: ThreadPool, turns: Turns, work: Callable[..., Outcome], *arguments: Any) -> Outcome:
    """The same in a thread of this pool, which has as many as there are `turns`.

    The pool itself would print the traceback of each, and a stranger's bad picture is no news for a log; and whoever
    waits for one of its threads may be overtaken again and again by those who ask later.
    """
    outcome: Outcome
    with turns:
        outcome, error = pool.apply(attempted, (work, arguments))
    if error is not None:
        raise error
    return outcome


class Turns:
    """So many `places`, each given to whoever waits for longest; a context manager that has one."""

    def __init__(self, places: int) -> None:
        self.places = self.free = places
        self._waiting: deque[Event] = deque()

    def __enter__(self) -> None:
        if self.free:  # then nobody waits
            self.free -= 1
            return
        turn = Event()
        self._waiting.append(turn)
        try:
            turn.wait()
        except BaseException:  # given up while waiting, or just as it came
            if turn.is_set():
                self.__exit__()
            else:
                self._waiting.remove(turn)
            raise

    def __exit__(self, *_: object) -> None:
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self.free += 1


_turns: WeakKeyDictionary[Hub, Turns] = WeakKeyDictionary()
"""Those of each hub's threads."""


def attempted(work: Callable[..., Outcome], arguments: tuple[Any, ...]) -> tuple[Outcome | None, Exception | None]:
    """What the work gives, or what it raises: the hub would print an error that leaves a greenlet, with its picture."""
    try:
        return work(*arguments), None
    except Exception as error:  # handed on to whoever waits
        return None, error


def put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; several writers of the same one do not disturb each other."""
    unfinished = written_beside(path, data)
    try:
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def put_meanwhile(path: Path, data: bytes) -> Iterator[None]:
    """Write a file in a thread while the block works, and give it its name once the block has ended well.

    Raises:
        OSError: it could not be written; nothing is left behind, as where the block raises.
    """
    writing = gevent.spawn(attempted, in_thread, (written_beside, path, data))
    try:
        yield
        unfinished, error = writing.get()
        if error is not None:
            raise error
        in_thread(unfinished.replace, path)
    except BaseException:
        writing.link_value(_unlink)
        raise


def _unlink(writing: gevent.Greenlet[..., Any]) -> None:
    """Delete what was written for nothing, if it was written."""
    unfinished, _error = writing.value
    if unfinished is not None:
        in_thread(unfinished.unlink, True)


def written_beside(path: Path, data: bytes) -> Path:
    """A file of this content, on the disk beside the path that it shall have, under a name that nobody looks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
        unfinished = Path(file.name)
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            unfinished.chmod(0o644)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
    return unfinished


def used(file: Path) -> bool:
    """Whether the file is there; if so, it was used now."""
    try:
        os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))
    except OSError:
        return False
    return True


def remove(paths: Iterable[Path]) -> int:
    """Delete these files; how many were there."""
    count = 0
    for path in paths:
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        count += 1
    return count
