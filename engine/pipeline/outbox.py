"""The messages and files of a task, made and sent in order on a thread of their own, and its pictures beside it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, TypeVar

from engine.messages import Message

Result = TypeVar("Result")

MOST_WAITING = 4
"""With more pieces of work than this waiting, previews are left out."""


class Outbox:
    """Encodes, saves and emits off the drawing thread; leaving the `with` block waits until all is sent.

    Pictures are computed on a thread beside it, so that none waits for previews that come before it. An error on either
    is raised by the next call or on leaving.
    """

    def __init__(self, emit: Callable[[Message], None]) -> None:
        self._emit = emit
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="outbox-pictures")
        self._waiting: list[Future[Any]] = []
        self._computed: Future[Any] | None = None

    @property
    def busy(self) -> bool:
        """Whether so much waits that previews should be left out."""
        return sum(not job.done() for job in self._waiting) > MOST_WAITING

    def send(self, make: Callable[[], Message | None]) -> None:
        """Emit the message that `make` returns, if it returns one, after all that was submitted before."""

        def sent() -> None:
            message = make()
            if message is not None:
                self._emit(message)

        self.submit(sent)

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Do some work after all that was submitted before; the future holds its result."""
        return self._submitted(self._thread, work)

    def compute(self, work: Callable[[], Result]) -> Future[Result]:
        """Compute a picture after those before it; the future holds its result."""
        self._computed = computed = self._submitted(self._beside, work)
        return computed

    def settle(self) -> None:
        """Wait until all pictures before are computed, whatever became of them."""
        if self._computed is not None:  # else a thread would be begun, for which there may be no memory left
            wait([self._computed])
            self._computed = None

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._beside.shutdown(wait=True)
        self._thread.shutdown(wait=True)
        if error is None:
            self._forget_done()

    def _submitted(self, thread: ThreadPoolExecutor, work: Callable[[], Result]) -> Future[Result]:
        self._forget_done()
        job = thread.submit(work)
        self._waiting.append(job)
        return job

    def _forget_done(self) -> None:
        """Drop the jobs that are done; raise the error of one that failed."""
        done = [job for job in self._waiting if job.done()]
        self._waiting = [job for job in self._waiting if job not in done]
        for job in done:
            job.result()
