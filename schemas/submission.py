"""A generation request with what it wants of the queue, of its stream and of its webhook."""

from __future__ import annotations

from marshmallow import Schema

from schemas.fields import Choice, Flag, Items, Whole
from schemas.generate import GenerateSchema

HIGHEST = 10
EVENTS = ("started", "progress", "ended")


class QueueMembers(Schema):
    """What a task's life is like; nothing here changes a picture."""

    priority = Whole(
        "Tasks of higher priority are drawn first, but none waits for ever: a point counts as a minute of waiting, "
        "unless the operator set another time.",
        -HIGHEST,
        HIGHEST,
        default=0,
    )
    cancel_on_disconnect = Flag("With stream_output: stop the task when the client goes away.", default=False)
    webhook_events = Items(
        "What the webhook is sent: that drawing began, progress (at most twice a second), the end.",
        Choice("An event.", EVENTS),
        default=["ended"],
    )


# marshmallow lists the members of the last base first.
class SubmissionSchema(QueueMembers, GenerateSchema):
    """What a client asks for; every member may be left out."""
