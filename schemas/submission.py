"""A generation request with what it wants of the queue, of its stream and of its webhook."""

from __future__ import annotations

from marshmallow import Schema

from schemas.fields import Choice, FilledSchema, Flag, Items, Whole
from schemas.generate import GenerateSchema
from schemas.tasks import IMAGE_MEMBERS

HIGHEST = 10
PRIORITY = (
    "Tasks of higher priority are drawn first, but none waits for ever: a point counts as a minute of waiting, "
    "unless the operator set another time."
)
EVENTS = ("started", "progress", "ended")
MOST_EVENTS = 8
"""Three, and room for some that are named twice."""
IDEMPOTENCY_HEADER = "Idempotency-Key"
LONGEST_IDEMPOTENCY_KEY = 255
MULTIPART = "multipart/form-data"
JSON_PART = "json"
"""The part of a form that holds any number of members at once."""


class PrioritySchema(FilledSchema):
    """A task's place in the queue."""

    priority = Whole(PRIORITY, -HIGHEST, HIGHEST, required=True)


class QueueMembers(Schema):
    """What a task's life is like; nothing here changes a picture."""

    priority = Whole(PRIORITY, -HIGHEST, HIGHEST, default=0)
    cancel_on_disconnect = Flag("With stream_output: stop the task when the client goes away.", default=False)
    webhook_events = Items(
        "What the webhook is sent: that drawing began, progress (at most twice a second), the end.",
        Choice("An event.", EVENTS),
        longest=MOST_EVENTS,
        default=["ended"],
    )


# marshmallow lists the members of the last base first.
class SubmissionSchema(QueueMembers, GenerateSchema):
    """What a client asks for; every member may be left out."""


IDEMPOTENCY_KEY = {
    "in": "header",
    "name": IDEMPOTENCY_HEADER,
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_IDEMPOTENCY_KEY},
    "description": "A word of the client's choice: the same request with the same word again, within 24 hours, is "
    "answered with the same task; another request with it is refused.",
}
"""The header as a parameter, for the OpenAPI document."""

FORM = {
    MULTIPART: {
        "schema": {
            "type": "object",
            "description": "Any member as a part of its name; pictures may be files. A list is sent as JSON, or as its "
            "name several times.",
            "properties": {
                JSON_PART: {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "description": "Any number of members as a JSON object; other parts go before it.",
                },
                **{
                    name: {"type": "string", "format": "binary", "description": "The picture's file."}
                    for name in (*IMAGE_MEMBERS, "controlnet_image.0.cn_img")
                },
            },
            "additionalProperties": {"type": "string"},
        }
    }
}
"""A request as a form, for the OpenAPI document."""
