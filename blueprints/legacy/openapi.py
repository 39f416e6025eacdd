"""What the OpenAPI document says of the predecessor's bodies and answers, besides their schemas."""

from __future__ import annotations

from schemas.answers import PICTURE
from schemas.other_apis.legacy import GeneratedImageSchema, JobSchema, LegacyFaultsSchema
from schemas.submission import MULTIPART

FORM_BODY = {
    "type": "object",
    "description": "The same members as parts: pictures as files, loras and advanced_params as JSON, lists of names "
    "with commas.",
    "additionalProperties": {"type": "string"},
}
FORMS = {kind: {"schema": FORM_BODY} for kind in (MULTIPART, "application/x-www-form-urlencoded")}
FAULTS = {
    "422": {
        "description": "Something in the request does not fit.",
        "content": {"application/json": {"schema": LegacyFaultsSchema}},
    }
}
GENERATION = {
    "200": {
        "description": "A picture, if accept or Accept is image/png; the job at once, with async_process; else the "
        "list of pictures once they are drawn. A full queue is told by QUEUE_IS_FULL in the place of pictures.",
        "content": {
            "application/json": {"schema": {"oneOf": [JobSchema, {"type": "array", "items": GeneratedImageSchema}]}},
            "image/png": PICTURE,
        },
        "headers": {
            "X-Task-Id": {"description": "Identifies the task.", "schema": {"type": "string"}},
            "X-Seed": {"description": "Seed of the first picture.", "schema": {"type": "string"}},
        },
    },
    "204": {"description": "A picture was asked for, and the task was stopped before it was drawn."},
    "409": {"description": "A picture was asked for, and the queue is full."},
    **FAULTS,
    "500": {"description": "A picture was asked for, and the task failed."},
    "503": {"description": "The server is stopping."},
}
