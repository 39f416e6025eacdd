"""The cards that draw."""

from __future__ import annotations

from marshmallow import Schema, fields


class WorkerSchema(Schema):
    """A card that draws, and what it is at."""

    lane = fields.String(metadata={"description": "Its name in GET /ready and in /metrics."})
    machine = fields.String(metadata={"description": "The name of the machine that it is in."})
    card = fields.String(
        allow_none=True,
        metadata={"description": "What it draws on: the graphics card, or the processor; null until that is known."},
    )
    state = fields.String(
        metadata={
            "description": "drawing; ready for a task; starting; stuck: its engine hung and is being replaced; "
            "unusable: it cannot draw as the settings have it; or "
            "leaving: its machine leaves the fleet once its task has ended."
        }
    )
    since_mills = fields.Integer(
        metadata={"description": "When it came to this state, or to this task, in milliseconds of Unix time."}
    )
    task_id = fields.String(allow_none=True, metadata={"description": "The task that it draws."})
    checkpoint = fields.String(
        allow_none=True,
        metadata={
            "description": "The checkpoint that it drew with last and still holds, or that it draws with; a task that "
            "wants the same one is begun sooner there."
        },
    )
    host_memory = fields.Integer(
        allow_none=True, metadata={"description": "Bytes that its engine holds of the machine's memory, if known."}
    )
    gpu_memory = fields.Integer(
        allow_none=True, metadata={"description": "Bytes that its engine holds of the card's memory, if known."}
    )


class WorkersSchema(Schema):
    """All cards that draw, or are awaited."""

    workers = fields.List(
        fields.Nested(WorkerSchema), metadata={"description": "Empty until the graphics cards are counted."}
    )
