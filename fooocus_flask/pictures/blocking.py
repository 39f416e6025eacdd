"""Work that would hold up the hub: done in a thread; files written whole or not at all."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import gevent
from gevent.threadpool import ThreadPool

Outcome = TypeVar("Outcome")


def in_thread(work: Callable[..., Outcome], *arguments: Any) -> Outcome:
    """The outcome of work that would hold up the hub, done in a thread; what it raises is raised here."""
    return in_pool(gevent.get_hub().threadpool, work, *arguments)


def in_pool(pool: ThreadPool, work: Callable[..., Outcome], *arguments: Any) -> Outcome:
    """The same in a thread of this pool.

    The pool itself would print the traceback of each, and a stranger's bad picture is no news for a log.
    """
    outcome: Outcome
    outcome, error = pool.apply(_outcome, (work, arguments))
    if error is not None:
        raise error
    return outcome


def _outcome(work: Callable[..., Outcome], arguments: tuple[Any, ...]) -> tuple[Outcome | None, Exception | None]:
    try:
        return work(*arguments), None
    except Exception as error:  # handed on to whoever waits
        return None, error


def put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; several writers of the same one do not disturb each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
        unfinished = Path(file.name)
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            unfinished.chmod(0o644)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def used(file: Path) -> bool:
    """Whether the file is there; if so, it was used now."""
    try:
        os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))
    except OSError:
        return False
    return True
