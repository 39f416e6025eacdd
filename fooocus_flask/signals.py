"""What happens to tasks, said in the past tense; the sender is the application, and knows nobody who listens.

Receivers are module-level functions that end in `**_`. They run in the sender's greenlet: they record
things quickly and do not wait. By then the database says the same as the signal.
"""

from __future__ import annotations

import logging
from typing import Any

from blinker import Namespace, Signal
from flask import Flask

log = logging.getLogger(__name__)
_signals = Namespace()

task_submitted = _signals.signal("task-submitted", "A task was put into the queue. task: its row.")
task_started = _signals.signal("task-started", "The engine was given a task. task: its row.")
task_progressed = _signals.signal(
    "task-progressed",
    "A step was made, or a model file came further. task_id, percent (0 to 100), message, preview (PNG bytes or none); "
    "while a picture is sampled also step and steps.",
)
picture_done = _signals.signal(
    "picture-done",
    "A picture lies in the outputs folder. task_id, index, path (below that folder), seed, width, height; "
    "prompt_tokens: what the task's prompt counts; paths: of all its pictures that lie there.",
)
task_ended = _signals.signal(
    "task-ended", "A task ended, well or not. task: its row; seconds: what each stage took, by name."
)
tasks_deleted = _signals.signal(
    "tasks-deleted", "Ended tasks were deleted. tasks: the task_id and the key_name of each."
)

queue_resumed = _signals.signal("queue-resumed", "The operator lets the queue go on.")
files_arrived = _signals.signal("files-arrived", "Tasks that waited for model files may wait no longer.")
delivery_tried = _signals.signal(
    "delivery-tried", "A webhook was sent, or could not be. delivery: its row; good: whether the receiver took it."
)


def send(signal: Signal, app: Flask, **values: Any) -> None:
    """Call every receiver; one that fails is logged and keeps nobody else from hearing."""
    for receiver in signal.receivers_for(app):
        try:
            receiver(app, **values)
        except Exception:
            log.exception("%s failed at %s", receiver, signal)
