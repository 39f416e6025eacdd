"""What comes out of the engine process, and what goes in: small frozen records that cross the wire as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Message:
    """One frame's JSON part; the member that `BLOB` names is its binary part."""

    BLOB: ClassVar[str | None] = None

    def to_wire(self) -> tuple[dict[str, Any], bytes]:
        """The message as a JSON object with its kind, and the bytes that travel beside it."""
        values = dict(vars(self))
        blob = values.pop(self.BLOB) if self.BLOB else b""
        return {"kind": type(self).__name__, **values}, blob


# --- web process -> engine process


@dataclass(frozen=True)
class Draw(Message):
    """Draw one task.

    `params` is `GenerateParams.to_dict()`; `outputs` holds an absolute path for each picture it may give, extension
    included; `checkpoint` is the checkpoint's path, or None for the built-in model; `notes` are remarks made before
    the engine saw the task (a missing LoRA left out, say), repeated in `Ended`; `log` tells whether the day's log page
    is kept; `inputs` is the folder of the pictures that the parameters name; `request_id` is for the log.
    `together` says how many may be drawn as one batch: this one and those that come next.
    """

    task_id: str
    params: dict[str, Any]
    outputs: list[str]
    checkpoint: str | None = None
    notes: list[str] = field(default_factory=list)
    log: bool = True
    inputs: str = ""
    request_id: str = "-"
    together: int = 1


@dataclass(frozen=True)
class Stop(Message):
    """End this task after its current sampling step; pictures already saved stay."""

    task_id: str


@dataclass(frozen=True)
class Skip(Message):
    """Drop the picture being drawn and go on with the task's next one."""

    task_id: str


@dataclass(frozen=True)
class Look(Message):
    """Look at a picture (`picture` is its file) for something that is no task, between two steps of one.

    `purpose` is `mask` (`options` are those of `MaskOptions`) or `describe` (`{"kind": "Photo"}`).
    """

    BLOB = "picture"

    look_id: str
    purpose: str
    options: dict[str, Any]
    picture: bytes = b""
    request_id: str = "-"


@dataclass(frozen=True)
class Unload(Message):
    """Drop all loaded models once no task is drawn; whatever needs one loads it again."""


# --- engine process -> web process


@dataclass(frozen=True)
class Seen(Message):
    """What a look gave: a `text` and the file of the `model` that said it, or a mask as the PNG `picture`.

    Or an `error` with its `cause`, as in `Ended`.
    """

    BLOB = "picture"

    look_id: str
    text: str = ""
    model: str = ""
    error: str | None = None
    cause: str | None = None
    picture: bytes = b""


@dataclass(frozen=True)
class Ready(Message):
    """The engine has imported its libraries and takes tasks."""

    device: str
    torch: str


@dataclass(frozen=True)
class Unusable(Message):
    """No engine can draw as this one was started, which ends; `reason` names the setting and what would work."""

    reason: str


@dataclass(frozen=True)
class Beat(Message):
    """A sign of life; sent every few seconds, whatever the engine does.

    `stages` names what the threads that draw and save are at, nothing while they wait for work; for `still` seconds
    none of them has got any further. `resident` and `gpu` are the bytes the process holds of the host's and of the
    GPU's memory, None where that is not known or there is no such memory.
    """

    stages: list[str] = field(default_factory=list)
    still: float = 0.0
    resident: int | None = None
    gpu: int | None = None


@dataclass(frozen=True)
class Progressed(Message):
    """Something a person watching would like to know; `preview` is a PNG or empty.

    At a sampling step, `step` of the picture's `steps` is done; both are 0 elsewhere.
    """

    BLOB = "preview"

    task_id: str
    percent: int
    message: str
    preview: bytes = b""
    step: int = 0
    steps: int = 0


@dataclass(frozen=True)
class PictureDone(Message):
    """One picture lies complete under its final name; `prompt_tokens` is what the task's prompt counts."""

    task_id: str
    index: int
    path: str
    seed: int
    width: int
    height: int
    prompt_tokens: int = 0


@dataclass(frozen=True)
class Ended(Message):
    """The last event of a task.

    `outcome` is `finished`, `stopped` or `failed`; `error` says why it failed, for the client to read, and `cause`
    of what kind that is: `memory` (there was too little), `missing` (a file that the task needs is gone), `space`
    (the disk is full), or `engine`.
    `seconds` holds the stages' durations (load, text, sampling, decode, save); `drawn_with` names the model files
    in force; `notes` says what was left out or replaced.
    """

    task_id: str
    outcome: str
    error: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    drawn_with: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    cause: str | None = None


KINDS: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (Draw, Stop, Skip, Look, Unload, Seen, Ready, Unusable, Beat, Progressed, PictureDone, Ended)
}


def from_wire(values: dict[str, Any], blob: bytes = b"") -> Message:
    """The message a frame holds.

    Raises:
        KeyError: the frame names no known kind.
    """
    values = dict(values)
    kind = KINDS[values.pop("kind")]
    if kind.BLOB:
        values[kind.BLOB] = blob
    return kind(**values)
