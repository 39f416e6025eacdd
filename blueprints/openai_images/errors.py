"""Failures in OpenAI's shape, each with whether trying again may help: its clients try twice by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from flask import Response, jsonify
from flask_limiter import RateLimitExceeded

from fooocus_flask.access import callers
from fooocus_flask.errors import FooocusError, Forbidden, InvalidRequest, Refusal
from fooocus_flask.tables import FAILED, Task
from fooocus_flask.tasks import failures
from schemas.faults import Fault

SHOULD_RETRY = "x-should-retry"
LONGEST_WAIT = 120
"""Seconds of a Retry-After that their clients still wait for."""
WAIT_FOR_SERVER = 5
INVALID, SERVER, LIMIT, PERMISSION = "invalid_request_error", "server_error", "rate_limit_error", "permission_error"
CODES = {
    404: (INVALID, "not_found"),
    405: (INVALID, "method_not_allowed"),
    409: (INVALID, "conflict"),
    413: (INVALID, "payload_too_large"),
    415: (INVALID, "unsupported_media_type"),
    429: (LIMIT, "queue_full"),
    503: (SERVER, "engine_unavailable"),
}
"""Type and code of each status that has its own."""
FAULT_CODES = {
    "unsupported_parameter": "unsupported_parameter",
    "unsupported_value": "unsupported_value",
    "missing": "missing_required_parameter",
    "missing_file": "model_files_missing",
    "image_error": "invalid_image",
}
FAILURE_CODES = {
    failures.MEMORY: "out_of_memory",
    failures.SPACE: "out_of_disk_space",
    failures.DOWNLOAD: "download_failed",
    failures.MISSING: "model_files_missing",
    failures.STORAGE: "storage_failed",
}
RETRIED = (429, 503)


@dataclass(frozen=True)
class Told:
    """An error as their clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ImagesError(FooocusError):
    """A failure of these routes that says itself what it is."""

    def __init__(self, status: int, told: Told, headers: Mapping[str, str] | None = None):
        self.told = told
        super().__init__(told.message, status=status, headers=headers)


def send_images_error(refusal: Refusal) -> Response:
    """The answer of a failure below their paths."""
    status, told = read(refusal)
    response = jsonify(error=asdict(told))
    response.status_code = status
    response.headers.update(refusal.headers)
    response.headers[SHOULD_RETRY] = "true" if status in RETRIED else "false"
    if status in RETRIED:
        wait = refusal.headers.get("Retry-After", str(WAIT_FOR_SERVER))
        response.headers["Retry-After"] = str(min(int(wait), LONGEST_WAIT)) if wait.isdecimal() else wait
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def read(refusal: Refusal) -> tuple[int, Told]:
    """The status of a failure here, and what is told of it."""
    error, status = refusal.error, refusal.status
    if isinstance(error, ImagesError):
        return status, error.told
    if isinstance(error, InvalidRequest):
        return 400, of_faults(error.faults)
    if isinstance(error, Forbidden) and callers.current() is None:
        text = "The API key is missing or wrong: send one of this server's keys as Authorization: Bearer KEY"
        return 401, Told(text, INVALID, None, "invalid_api_key")
    if isinstance(error, Forbidden):
        return status, Told(str(refusal.detail), PERMISSION, None, "insufficient_scope")
    if isinstance(error, RateLimitExceeded):
        return status, Told(str(refusal.detail), LIMIT, None, "rate_limit_exceeded")
    if status == 422:
        return 400, Told(str(refusal.detail), INVALID, None, "invalid_value")
    type, code = CODES.get(status, (SERVER if status >= 500 else INVALID, None))
    return status, Told(str(refusal.detail), type, None, code)


def of_faults(faults: list[Fault]) -> Told:
    """What is told of the faults of a request: the member of the first, and all of them in words."""
    params = [".".join(str(step) for step in fault.loc[1:]) for fault in faults]
    message = "; ".join(
        f"{param}: {fault.msg}" if param else fault.msg for param, fault in zip(params, faults, strict=True)
    )
    code = FAULT_CODES.get(faults[0].type, "invalid_value") if faults else "invalid_value"
    return Told(message, INVALID, params[0] or None if params else None, code)


@dataclass(frozen=True)
class TaskEnd:
    """How a task ended that gave no answer."""

    status: int
    told: Told


def end_of(task: Task) -> TaskEnd | None:
    """Why an ended task has no pictures to answer; None where it has."""
    if task.task_status == FAILED:
        status = failures.status_of(task.failure)
        status, type = (400, INVALID) if task.failure == failures.MISSING else (status, SERVER)
        code = FAILURE_CODES.get(task.failure or "", "task_failed")
        param = "model" if task.failure == failures.MISSING else None
        return TaskEnd(status, Told(str(task.error), type, param, code))
    if task.task_status == "finished" and task.result:
        return None
    done = f"; {len(task.result)} pictures were done before, and are kept" if task.result else ""
    return TaskEnd(409, Told(f"The task {task.task_id} was stopped{done}", SERVER, None, "task_stopped"))


def raise_end(task: Task) -> None:
    """Go on only with a task that has pictures to answer.

    Raises:
        ImagesError: it failed, or was stopped.
    """
    if end := end_of(task):
        raise ImagesError(end.status, end.told, {"X-Task-Id": task.task_id, "X-Seed": task.seed})
