"""The answers of a generation request, as the OpenAPI document shows them."""

from __future__ import annotations

from schemas.tasks import LONGEST_EVENT_ID, TaskRecordSchema

REPLAYED_HEADER = "Idempotency-Replayed"
PICTURE_TYPES = ("image/png", "image/jpeg", "image/webp")
"""The media types in which pictures are answered."""

PICTURE = {"schema": {"type": "string", "format": "binary"}}
EVENT = {
    "type": "object",
    "description": "An event of the stream. The last one's message is Finished.",
    "required": ["data"],
    "properties": {
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "type": "object",
                "required": ["progress", "preview", "message", "images"],
                "properties": {
                    "progress": {"type": "integer", "minimum": 0, "maximum": 100, "description": "Percent done."},
                    "preview": {"type": ["string", "null"], "description": "A PNG as a data URL, if there is one."},
                    "message": {"type": "string", "description": "What is done now, for people."},
                    "images": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "URLs of the pictures; empty before the last event.",
                    },
                    "error": {"type": "string", "description": "Why the task failed; only in the last event."},
                },
            },
        }
    },
}
REPLAYED = {
    "description": "true, where an Idempotency-Key named a task that was there already.",
    "schema": {"type": "string"},
}
BUSY = {"description": "The queue is full, or a limit of the key is reached; `Retry-After` says when to come back."}
DRAWN_HEADERS = {
    "X-Task-Id": {"description": "Identifies the task.", "schema": {"type": "string"}},
    "X-Seed": {"description": "Seed of the first picture.", "schema": {"type": "string"}},
    REPLAYED_HEADER: REPLAYED,
}
TASK_REFUSALS = {
    "500": {"description": "The task failed: the record with a member detail, or only that member."},
    "502": {"description": "The same, because a model file could not be fetched."},
    "507": {
        "description": "The same, because there was too little memory, and a smaller picture may do; or because the "
        "disk is full, also where nothing was kept of the request."
    },
    "429": BUSY,
    "503": {"description": "The server is stopping."},
}
"""How a request that draws may fail, whatever it is answered with."""
GENERATE = {
    "200": {
        "description": (
            "A picture, if the best type in Accept is an image; events, with stream_output; a pending record at once, "
            "with async_process; otherwise the record of the drawn task."
        ),
        "content": {
            "application/json": {"schema": TaskRecordSchema},
            "text/event-stream": {"schema": EVENT},
            **dict.fromkeys(PICTURE_TYPES, PICTURE),
        },
        "headers": DRAWN_HEADERS,
    },
    "204": {"description": "A picture was asked for, and the task was stopped before it was drawn."},
    **TASK_REFUSALS,
}
"""What `POST /v1/engine/generate/` answers, by status."""
RETRY = {
    "200": {
        "description": "The record of the new task.",
        "content": {"application/json": {"schema": TaskRecordSchema}},
        "headers": {REPLAYED_HEADER: REPLAYED},
    },
    "409": {"description": "The task waits or runs."},
    "422": {"description": "A picture, model file, style or preset of the task is gone; `detail` says which."},
    "429": BUSY,
}
"""What `POST /tasks/{task_id}/retry` answers, by status."""

LAST_EVENT_HEADER = "Last-Event-ID"
LAST_EVENT_ID = {
    "in": "header",
    "name": LAST_EVENT_HEADER,
    "schema": {"type": "string", "maxLength": LONGEST_EVENT_ID},
    "description": "The id of the last event that the client had: what it missed comes first.",
}
"""The header as a parameter, for the OpenAPI document."""
TASK_ID = {"type": "string", "description": "The task."}
TASK_EVENT = {
    "type": "object",
    "description": "An event; those that change a list of tasks have an id, progress has none.",
    "required": ["event", "data"],
    "properties": {
        "event": {
            "type": "string",
            "enum": ["reset", "submitted", "started", "progress", "picture", "ended", "deleted"],
            "description": "What happened. reset: read GET /tasks again, for events were missed, or this is the first.",
        },
        "id": {"type": "string", "description": "Where a client that was away goes on."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "anyOf": [
                    {"type": "object", "properties": {"reason": {"type": "string", "enum": ["new", "gone"]}}},
                    {"$ref": "#/components/schemas/BriefTask"},
                    {
                        "type": "object",
                        "properties": {
                            "task_id": TASK_ID,
                            "progress": {"type": "integer", "description": "Percent done."},
                            "message": {"type": "string", "description": "What is done now, for people."},
                            "preview": {"type": "string", "description": "A PNG as a data URL, with previews=true."},
                        },
                    },
                    {
                        "type": "object",
                        "properties": {
                            "task_id": TASK_ID,
                            "index": {"type": "integer", "description": "Its number among the task's, from 0."},
                            "url": {"type": "string", "description": "The picture."},
                            "seed": {"type": "string", "description": "Its seed."},
                            "width": {"type": "integer", "description": "Its width in pixels."},
                            "height": {"type": "integer", "description": "Its height in pixels."},
                        },
                    },
                    {
                        "type": "object",
                        "properties": {"task_ids": {"type": "array", "items": {"type": "string"}}},
                    },
                ]
            },
        },
    },
}
TASK_EVENTS = {
    "200": {
        "description": "Events as they come; the connection stays open.",
        "content": {"text/event-stream": {"schema": TASK_EVENT}},
    }
}
"""What `GET /tasks/events` answers."""
