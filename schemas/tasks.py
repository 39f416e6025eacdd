"""Tasks as clients ask for them and as they see them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, NoReturn

from marshmallow import Schema, fields, validates_schema

from schemas import synonyms
from schemas.faults import fault
from schemas.fields import Choice, Described, Flag, QuerySchema, Text, Whole, refused
from schemas.spelling import SpellChecked

LISTS = ("all", "history", "current", "pending")
STATUSES = ("pending", "running", "finished", "failed", "stop")
LARGEST_PAGE = 500
LONGEST_MOMENT = 64
MOST_WORDS = 32
"""Words of a search: each is a condition of the statement, and databases take so many."""
BRIEF_PROMPT = 200
"""Characters of a prompt in a brief record."""
LONGEST_EVENT_ID = 64
IMAGE_MEMBERS = ("uov_input_image", "inpaint_input_image", "inpaint_mask_image_upload", "enhance_input_image")
CURSOR = re.compile(r"([not])(-?[0-9]{1,19}(?:\.[0-9]{1,10})?)", re.ASCII)
MOST_VALUE = 2**63 - 1
ZONE_WITH_BLANK = re.compile(r" (?=\d\d:?\d\d$)")


class Words(Text):
    """A few words with blanks between them."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        words = len(text.split())
        if words > MOST_WORDS:
            raise fault("too_many_words", f"Input should have at most {MOST_WORDS} words, not {words}", value)
        return text


class Cursor(NamedTuple):
    """The place of a task in a list: the list's order, and what the task has there."""

    order: str
    values: tuple[int, ...]

    def __str__(self) -> str:
        return self.order + ".".join(map(str, self.values))


NEWEST_FIRST, OLDEST_FIRST, BY_TURN = "n", "o", "t"
"""The orders of lists: history, history of a period, and pending."""


class CursorText(Text):
    """A cursor as a client has it from an answer."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        match = CURSOR.fullmatch(text)
        values = tuple(int(digits) for digits in match[2].split(".")) if match else ()
        if not match or len(values) != (1 if match[1] == NEWEST_FIRST else 2) or max(map(abs, values)) > MOST_VALUE:
            raise fault(
                "cursor", "Input should be the X-Next-Cursor of an earlier answer; absent: the first page", text
            )
        return Cursor(match[1], values)


class Moment(Described, fields.AwareDateTime):
    """A moment in ISO 8601: a date, or with a time, a fraction, a zone; without a zone the server's own counts."""

    def refuse(self, value: Any) -> NoReturn:
        text = "Input should be an ISO 8601 date or date and time, such as 2024-07-05T09:31:25 or 2024-07-05T07:31:25Z"
        raise fault("datetime_parsing", text, value)

    def shape(self) -> dict[str, Any]:
        """A text: JSON Schema's `date-time` knows neither a date alone nor a time without a zone."""
        return {
            "type": "string",
            "maxLength": LONGEST_MOMENT,
            "examples": ["2024-07-05", "2024-07-05T09:31:25", "2024-07-05T07:31:25Z"],
        }

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> dt.datetime:
        if not isinstance(value, str) or len(value) > LONGEST_MOMENT:
            self.refuse(value)
        try:
            # In a query the + of a zone arrives as a blank unless the client encodes it.
            return dt.datetime.fromisoformat(ZONE_WITH_BLANK.sub("+", value.strip())).astimezone()
        except (ValueError, OverflowError, OSError):
            self.refuse(value)


class TasksQuerySchema(SpellChecked, QuerySchema):
    """Which tasks to list, or to delete."""

    synonyms = synonyms.TASKS

    query = Choice("Which lists to fill; the others stay empty.", LISTS, default="all")
    page = Whole("Page of history and of pending, from 0.", 0, 2**31, default=0)
    page_size = Whole("Tasks on a page.", 1, LARGEST_PAGE, default=10)
    start_at = Moment("Only tasks queued at or after this moment, oldest first.", default=None)
    end_at = Moment("Only tasks queued at or before this moment; absent: now.", default=None)
    status = Choice("Only tasks in this state.", STATUSES, default=None)
    prompt = Words(
        "Only tasks whose prompt holds each of these words or parts of words, in any case; "
        f"at most {MOST_WORDS} words.",
        longest=1000,
        default=None,
    )
    after = CursorText(
        "The X-Next-Cursor of the answer before: what follows it, however many tasks have come since.", default=None
    )
    brief = Flag("Whether each task is told in few words, without its parameters.", default=False)
    action = Choice("delete: delete the tasks in the range and their pictures.", ("delete",), fold=True, default=None)

    @validates_schema
    def check_range(self, members: dict[str, Any], **_: Any) -> None:
        """A deletion needs a range, and a range must not be backwards."""
        start, end = members.get("start_at"), members.get("end_at")
        if members.get("action") and start is None:
            raise refused("missing", "A deletion needs start_at", "start_at")
        if cursor := members.get("after"):
            self.check_cursor(cursor, members)
        if start and end and end < start:
            raise refused("range", "end_at lies before start_at", "end_at", end.isoformat())

    def check_cursor(self, cursor: Cursor, members: dict[str, Any]) -> None:
        """A cursor goes on in the list that it is of."""
        history = OLDEST_FIRST if members.get("start_at") else NEWEST_FIRST
        order = {"history": history, "pending": BY_TURN}.get(members.get("query", "all"))
        if order is None:
            raise refused("cursor", "after needs query=history or query=pending", "after", str(cursor))
        if cursor.order != order:
            text = "The cursor is of another list; keep query and start_at as they were, or begin without after"
            raise refused("cursor", text, "after", str(cursor))
        if members.get("page"):
            raise refused("cursor", "page and after do not go together; leave page out", "page", members["page"])


class TaskEventsQuerySchema(QuerySchema):
    """What to send besides, and where to go on."""

    previews = Flag("Whether progress carries the last preview, at most once a second.", default=False)
    last_event_id = Text(
        "The id of the last event that the client had, which the header Last-Event-ID overrides.",
        longest=LONGEST_EVENT_ID,
        default=None,
    )


class DownloadSchema(Schema):
    """A model file on its way, or about to be."""

    file = fields.String(metadata={"description": "Its models folder and name."})
    url = fields.String(metadata={"description": "Where it comes from, without what may be secret there."})
    bytes_done = fields.Integer(metadata={"description": "How much of it is here; 0 while it waits for its turn."})
    bytes_total = fields.Integer(allow_none=True, metadata={"description": "Its size; null while that is not known."})


class TaskRecordSchema(Schema):
    """A task: what was asked for, how far it is, what came of it."""

    id = fields.Integer(metadata={"description": "Number of the task in this installation."})
    task_id = fields.String(metadata={"description": "32 hexadecimal digits, unique."})
    req_params = fields.Function(
        lambda task: record_params(read(task, "req_params")),
        metadata={
            "type": "object",
            "description": "The parameters in force; they can be sent back as a request.",
        },
    )
    in_queue_mills = fields.Integer(metadata={"description": "When it was queued, Unix time in milliseconds."})
    start_mills = fields.Integer(
        allow_none=True, metadata={"description": "When drawing began; null while the task waits."}
    )
    finish_mills = fields.Integer(allow_none=True, metadata={"description": "When it ended; null until then."})
    task_status = fields.String(metadata={"description": "State of the task.", "enum": list(STATUSES)})
    progress = fields.Float(allow_none=True, metadata={"description": "Percent done, 0 to 100."})
    preview = fields.String(
        allow_none=True,
        metadata={"description": "The last preview, base64 of a PNG; only while the task runs."},
    )
    webhook_url = fields.String(
        allow_none=True,
        metadata={"description": "Where the record is sent at the end; the operator's own is told to admin keys only."},
    )
    result = fields.List(
        fields.String(), allow_none=True, metadata={"description": "URLs of the pictures; null until the task ends."}
    )
    pictures_done = fields.Integer(metadata={"description": "How many pictures were drawn."})
    seed = fields.String(metadata={"description": "The first picture's seed as a text, which no client rounds."})
    error = fields.String(allow_none=True, metadata={"description": "Why the task failed; null otherwise."})
    notes = fields.List(
        fields.String(), metadata={"description": "What was left out or replaced, for instance a model not on disk."}
    )
    drawn_with = fields.Dict(
        allow_none=True,
        metadata={
            "description": "The checkpoint that drew, its memory plan, number formats and attention if the server was "
            "told any, how many tokens the prompt has, this program's version, and that of the Fooocus that drew, if "
            "one did; null until then."
        },
    )
    priority = fields.Integer(metadata={"description": "From -10 to 10; higher ones are drawn first."})
    key_name = fields.String(
        allow_none=True, metadata={"description": "Name of the key it was submitted with; null where none was needed."}
    )
    queue_position = fields.Integer(
        allow_none=True, metadata={"description": "0 while it is drawn, 1 if it comes next; null once it has ended."}
    )
    eta_seconds = fields.Integer(
        allow_none=True,
        metadata={"description": "Seconds until it ends, guessed from the last tasks; null where there is no guess."},
    )
    downloads = fields.List(
        fields.Nested(DownloadSchema),
        allow_none=True,
        metadata={"description": "The model files it waits for, with --allow-downloads; null where there are none."},
    )


class BriefTaskSchema(Schema):
    """A task in few words, for lists and events: no parameters but its seed and the beginning of its prompt."""

    class Meta:
        include: ClassVar = {
            name: TaskRecordSchema._declared_fields[name]
            for name in (
                *("id", "task_id", "task_status", "in_queue_mills", "start_mills", "finish_mills", "progress"),
                *("result", "pictures_done", "seed", "error", "priority", "key_name", "queue_position", "eta_seconds"),
            )
        }

    prompt = fields.String(
        metadata={"description": f"The prompt, of a longer one its first {BRIEF_PROMPT} characters and …."}
    )


class TasksSchema(Schema):
    """Tasks by state."""

    history = fields.List(fields.Nested(TaskRecordSchema), metadata={"description": "Ended tasks, newest first."})
    current = fields.List(
        fields.Nested(TaskRecordSchema),
        metadata={"description": "The running tasks, the one begun first before the others."},
    )
    pending = fields.List(fields.Nested(TaskRecordSchema), metadata={"description": "Waiting tasks, oldest first."})


class BriefTasksSchema(Schema):
    """Tasks by state, each in few words."""

    history = fields.List(fields.Nested(BriefTaskSchema), metadata={"description": "Ended tasks, newest first."})
    current = fields.List(
        fields.Nested(BriefTaskSchema),
        metadata={"description": "The running tasks, the one begun first before the others."},
    )
    pending = fields.List(fields.Nested(BriefTaskSchema), metadata={"description": "Waiting tasks, oldest first."})


class DeliverySchema(Schema):
    """A webhook that a task owes, or owed."""

    id = fields.Integer(metadata={"description": "Number of the delivery."})
    message_id = fields.String(
        allow_none=True, metadata={"description": "Its webhook-id, the same however often it is sent."}
    )
    event = fields.String(metadata={"description": "What it tells.", "enum": ["started", "ended"]})
    url = fields.String(
        metadata={
            "description": "Where it goes; empty where that is the operator's own webhook, and the caller no admin."
        }
    )
    attempts = fields.Integer(metadata={"description": "How often it was sent."})
    answer = fields.String(allow_none=True, metadata={"description": "What came of the last try."})
    made_mills = fields.Integer(allow_none=True, metadata={"description": "Since when it is owed, Unix time in ms."})
    tried_mills = fields.Integer(allow_none=True, metadata={"description": "When it was last sent."})
    due_mills = fields.Integer(
        allow_none=True, metadata={"description": "When it is sent next; null once it is delivered or given up."}
    )
    delivered_mills = fields.Integer(allow_none=True, metadata={"description": "When it was taken; null if it wasn't."})


class DeletedSchema(Schema):
    """What a deletion did."""

    deleted = fields.Integer(metadata={"description": "Tasks deleted."})
    files = fields.Integer(metadata={"description": "Picture files deleted."})


def read(task: Any, member: str) -> Any:
    """A member of a record, be it a row or a dictionary."""
    return task[member] if isinstance(task, Mapping) else getattr(task, member)


def record_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as a record shows them, with an empty text where there is no picture, as FooocusAPI had it."""
    shown = dict(params)
    for member in IMAGE_MEMBERS:
        shown[member] = shown.get(member) or ""
    shown["controlnet_image"] = [part | {"cn_img": part["cn_img"] or ""} for part in shown.get("controlnet_image", ())]
    return shown
