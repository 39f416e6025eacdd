"""Stopping and skipping."""

from __future__ import annotations

from marshmallow import Schema, fields

from schemas import synonyms
from schemas.fields import FilledSchema, Text
from schemas.spelling import SpellChecked
from schemas.tasks import DownloadSchema


class ControlSchema(SpellChecked, FilledSchema):
    """What to do with the running task."""

    synonyms = synonyms.CONTROL

    action = Text(
        "stop ends the running task after its current step, skip drops the picture being drawn. "
        "Any other word changes nothing, and the message says so.",
        required=True,
        metadata={"examples": ["stop", "skip"]},
    )
    task_id = Text(
        "The task meant; absent: the one that is running, of several the one begun first that the key may stop.",
        default=None,
        allow_none=True,
    )


class MessageSchema(Schema):
    """What was done."""

    message = fields.String(metadata={"description": "What was done, in the words clients compare with."})


class QueueSchema(Schema):
    """The queue as it is."""

    paused = fields.Boolean(metadata={"description": "Whether nothing more is begun until the operator resumes it."})
    pending = fields.Integer(metadata={"description": "How many tasks wait."})
    running = fields.String(
        allow_none=True, metadata={"description": "The task that is drawn now; of several the one begun first."}
    )
    downloads = fields.List(fields.Nested(DownloadSchema), metadata={"description": "The model files on their way."})
