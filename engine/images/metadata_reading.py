"""Out of a picture: the metadata its file carries. What the file says is not trusted, let alone evaluated."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from engine.images import a1111
from engine.images.metadata import USER_COMMENT

EXIF_FOLDER = 0x8769
"""The EXIF sub-folder, where other programs keep the user comment."""

LONGEST_TEXT = 200_000

KEYS = {
    "Steps": "steps",
    "Seed": "seed",
    "Size": "resolution",
    "CFG scale": "guidance_scale",
    "Sharpness": "sharpness",
    "ADM Guidance": "adm_guidance",
    "Model": "base_model",
    "Model hash": "base_model_hash",
    "Performance": "performance",
    "Scheduler": "scheduler",
    "VAE": "vae",
    "Refiner": "refiner_model",
    "Refiner hash": "refiner_model_hash",
    "Adaptive CFG": "adaptive_cfg",
    "Clip skip": "clip_skip",
    "Overwrite Switch": "overwrite_switch",
    "Refiner Swap Method": "refiner_swap_method",
    "FreeU": "freeu",
    "Lora hashes": "lora_hashes",
    "Lora weights": "lora_weights",
    "Raw prompt": "prompt",
    "Raw negative prompt": "negative_prompt",
    "Notes": "notes",
    "Version": "version",
    "User": "created_by",
}
"""Fooocus's key for each label of the web UIs' format."""


def read(picture: Path | bytes) -> dict[str, Any] | None:
    """The metadata a PNG, JPEG or WebP carries, under Fooocus's keys as far as they are known; None if it has none.

    Text in the web UIs' format is taken apart; its prompts with all styles in them are `full_prompt` and
    `full_negative_prompt`, as one text each.

    Raises:
        ValueError: the picture is none of the three kinds, or too damaged to open.
    """
    content = _content(picture)
    if content is None or isinstance(content, dict):
        return content
    return _taken_apart(content)


def _content(picture: Path | bytes) -> dict[str, Any] | str | None:
    """A scheme's JSON object, a text, or nothing."""
    texts = [text for text in _carried(picture) if text and len(text) <= LONGEST_TEXT]
    for text in texts:
        values = _json_object(text)
        if values is not None:
            return values
    return texts[0] if texts else None


def _carried(picture: Path | bytes) -> list[str]:
    try:
        with Image.open(
            io.BytesIO(picture) if isinstance(picture, bytes) else picture, formats=("PNG", "JPEG", "WEBP")
        ) as image:
            exif = image.getexif()
            comments = (exif.get(USER_COMMENT), exif.get_ifd(EXIF_FOLDER).get(USER_COMMENT))
            return [_text(value) for value in (image.info.get("parameters"), *comments)]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a PNG, JPEG or WebP that can be opened: {error}") from error


def _text(value: object) -> str:
    """A comment's text; the EXIF standard puts 8 bytes before it that name its encoding."""
    if isinstance(value, bytes):
        mark, body = value[:8], value[8:]
        if mark == b"UNICODE\0":
            return body.decode("utf-16-be" if body[:1] == b"\0" else "utf-16-le", "replace")
        return (body if mark == b"ASCII\0\0\0" else value).decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _taken_apart(text: str) -> dict[str, Any]:
    positive, negative, pairs = a1111.parsed(text)
    found = {KEYS[label]: value for label, value in pairs.items() if label in KEYS}
    ours = found.get("version", "").startswith("Fooocus")
    label = pairs.get("Sampler", "")
    sampler = a1111.sampler_name(label, prefer_gpu=ours) or label
    if sampler:
        found["sampler"] = sampler
    if label.endswith(a1111.KARRAS_SUFFIX):
        found.setdefault("scheduler", "karras")
    return found | {"metadata_scheme": "a1111", "full_prompt": positive, "full_negative_prompt": negative}
