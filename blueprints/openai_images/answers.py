"""A task as their clients read it: its pictures in base64, the prompt that was drawn, the tokens it has."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flask import Response

from blueprints.openai_images.errors import raise_end
from blueprints.openai_images.sizes import Size, spelt
from engine.images import codecs, metadata_reading, reading
from fooocus_flask.pictures import converting, outputs, urls
from fooocus_flask.pictures.inputs import in_thread
from fooocus_flask.tables import Task

FORMATS = {"jpg": "jpeg"}
"""Their names for our types of file, where they differ."""


@dataclass(frozen=True)
class AnswerStyle:
    """How a task's pictures are answered: their type, in their words for it, and the size to shrink them to."""

    output_format: str
    quality: str
    encoder_quality: int
    shrunk_to: Size | None
    safety_identifier: str | None

    @classmethod
    def of(cls, task: Task) -> AnswerStyle:
        """The task's."""
        api, params = task.api or {}, task.params
        shrunk = api.get("shrunk_to")
        return cls(
            params.output_format,
            api.get("quality", "medium"),
            params.output_quality,
            (int(shrunk[0]), int(shrunk[1])) if shrunk else None,
            api.get("safety_identifier"),
        )

    @property
    def told(self) -> dict[str, Any]:
        """What answers and events say of every picture."""
        told = {
            "background": "opaque",
            "output_format": FORMATS.get(self.output_format, self.output_format),
            "quality": self.quality,
        }
        return told | ({"safety_identifier": self.safety_identifier} if self.safety_identifier else {})

    def file(self, path: Path) -> bytes:
        """A picture's file as it is answered."""
        if self.shrunk_to is None:
            return in_thread(path.read_bytes)
        shrink = partial(codecs.convert, size=self.shrunk_to, quality=self.encoder_quality)
        return converting.converted(shrink, path, self.output_format)


def pictures(task: Task, *, as_urls: bool) -> Response:
    """The answer of an ended task.

    Raises:
        ImagesError: it has none.
    """
    raise_end(task)
    style, paths = AnswerStyle.of(task), outputs.fetched(task.result or ())
    files = [style.file(path) for path in paths]
    data = [in_thread(prompt_told, file) for file in files]
    if as_urls:
        for told, url in zip(data, urls.pictures(task.result, urls.base()), strict=True):
            told["url"] = url
    else:
        for told, file in zip(data, files, strict=True):
            told["b64_json"] = in_thread(in_base64, file)
    answer = {
        "created": (task.finish_mills or 0) // 1000,
        "data": data,
        **style.told,
        "size": spelt(in_thread(reading.size, files[0])),
        "usage": usage((task.drawn_with or {}).get("prompt_tokens", 0)),
    }
    return Response(in_thread(written, answer), mimetype="application/json")


def prompt_told(file: bytes) -> dict[str, str]:
    """The prompt that a picture was drawn from, as its file tells it; nothing where it tells none; takes its time."""
    try:
        found = metadata_reading.read(file) or {}
    except ValueError:
        return {}
    texts = found.get("full_prompt") or found.get("prompt") or ""
    text = "\n".join(map(str, texts)) if isinstance(texts, list) else str(texts)
    return {"revised_prompt": text} if text else {}


def usage(tokens: int) -> dict[str, Any]:
    """What was used: the prompt's tokens; pictures are none here."""
    return {
        "total_tokens": tokens,
        "input_tokens": tokens,
        "input_tokens_details": {"text_tokens": tokens, "image_tokens": 0},
        "output_tokens": 0,
    }


def in_base64(data: bytes) -> str:
    """The bytes as a text; takes its time."""
    return base64.b64encode(data).decode()


def written(answer: Mapping[str, Any]) -> bytes:
    """The answer's bytes; takes its time."""
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
