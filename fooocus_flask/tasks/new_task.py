"""What becomes a task: a request as the engine gets it, and what its client wants of the queue and the webhook."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.params import GenerateParams
from fooocus_flask.model_files.awaited_file import Awaited

ENDED_ONLY = ("ended",)


@dataclass(frozen=True)
class NewTask:
    """A request that is ready for the queue; `checkpoint` is a path, or None for the built-in model.

    `notes` say what was left out or replaced, `downloads` are the model files that must come before it can be drawn.
    """

    params: GenerateParams
    checkpoint: str | None
    notes: list[str]
    downloads: list[Awaited] = field(default_factory=list)


@dataclass(frozen=True)
class QueueOptions:
    """How a task is queued, and which webhooks it sends; nothing here changes a picture.

    `idempotency_key` is the request's Idempotency-Key, `fingerprint` what that request asked for; `key_name` is the
    name of the client's own key, and `most_waiting` how many tasks with that key may wait, 0: any number. `api` is
    what the task's row keeps of the API that the request came by, None: our own. `task_id` is the id that the client
    wishes for, None: any.
    """

    priority: int = 0
    webhook_events: tuple[str, ...] = ENDED_ONLY
    idempotency_key: str | None = None
    fingerprint: str = ""
    key_name: str | None = None
    most_waiting: int = 0
    api: dict[str, Any] | None = None
    task_id: str | None = None
