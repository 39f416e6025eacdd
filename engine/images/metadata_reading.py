"""Out of a picture: the metadata its file carries. What the file says is not trusted, let alone evaluated."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from engine.images import a1111, other_programs
from engine.images.exif_text import comment_text
from engine.images.metadata import USER_COMMENT

EXIF_FOLDER = 0x8769
"""The EXIF sub-folder, where other programs keep the user comment."""

DESCRIPTION, MAKE, MODEL, WINDOWS_COMMENT = 0x010E, 0x010F, 0x0110, 0x9C9C
GRAPHS = ("prompt", "workflow")
"""What ComfyUI names its graphs, in chunks of a PNG and before a colon in the EXIF of other kinds."""

EXIF_COMMENT, INNER_COMMENT = "EXIF UserComment", "EXIF folder UserComment"
EXIF_DESCRIPTION, EXIF_WINDOWS = "EXIF ImageDescription", "EXIF XPComment"
PARAMETER_TEXTS = (
    *("parameters", EXIF_COMMENT, INNER_COMMENT),
    *("Comment", "comment", "Description", EXIF_DESCRIPTION, EXIF_WINDOWS),
)
"""The texts that may hold parameters, in the order they are tried. All but the first three need pairs to count."""
NO_TEXTS = frozenset({"exif", "icc_profile", "xmp", "photoshop", "mp", "jfif"})

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
    "Refiner switch at": "refiner_switch",
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
SAMPLING = frozenset({"Sampler", "Schedule type"})
ABOUT = frozenset({"Created Date", "Template", "Negative Template", "Hashes", "TI hashes", "VAE hash", "App"})
"""Labels of what tells about a picture and changes none."""
EMPTY = frozenset({"", "{}", "[]", "False", "None"})


def read(picture: Path | bytes) -> dict[str, Any] | None:
    """The metadata a PNG, JPEG or WebP carries, under Fooocus's keys as far as they are known; None if it has none.

    Text in the web UIs' format is taken apart; its prompts with all styles in them are `full_prompt` and
    `full_negative_prompt`, as one text each. Of other programs' pictures `metadata_scheme` names the program.

    Raises:
        ValueError: the picture is none of the three kinds, or too damaged to open.
    """
    texts = {name: text for name, text in texts_of(picture).items() if text and len(text) <= LONGEST_TEXT}
    found = other_programs.read(texts)
    if found is not None:
        return found
    candidates = [texts[name] for name in PARAMETER_TEXTS if name in texts]
    values = next(filter(None, map(other_programs.json_object, candidates)), None)
    if values is not None:
        return values
    whole = [texts[name] for name in PARAMETER_TEXTS[:3] if name in texts]
    with_pairs = [text for text in candidates if a1111.parsed(text)[2]]
    return next((_taken_apart(text) for text in (*with_pairs, *whole)), None)


def texts_of(picture: Path | bytes) -> dict[str, str]:
    """Every text in the file, by the name of its chunk or of its EXIF tag.

    Raises:
        ValueError: the picture is none of the three kinds, or too damaged to open.
    """
    try:
        with Image.open(
            io.BytesIO(picture) if isinstance(picture, bytes) else picture, formats=("PNG", "JPEG", "WEBP")
        ) as image:
            if image.format == "PNG" and "parameters" not in image.info:
                with contextlib.suppress(OSError, ValueError, SyntaxError):
                    image.load()  # chunks may follow the pixels
            chunks = {str(name): comment_text(value) for name, value in image.info.items() if name not in NO_TEXTS}
            return chunks | _exif_texts(image.getexif())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a PNG, JPEG or WebP that can be opened: {error}") from error


def parameter_text(texts: Mapping[str, str]) -> str:
    """Of a picture's texts the one that most likely holds its parameters; empty if none may."""
    candidates = [texts[name] for name in PARAMETER_TEXTS if texts.get(name) and len(texts[name]) <= LONGEST_TEXT]
    with_pairs = (text for text in candidates if a1111.parsed(text)[2])
    return next(with_pairs, "") or next(iter(candidates), "")


def _exif_texts(exif: Image.Exif) -> dict[str, str]:
    """The texts of the EXIF tags that programs write parameters into."""
    inner = exif.get_ifd(EXIF_FOLDER).get(USER_COMMENT)
    windows = exif.get(WINDOWS_COMMENT)
    texts = {
        EXIF_COMMENT: comment_text(exif.get(USER_COMMENT)),
        INNER_COMMENT: comment_text(inner),
        EXIF_DESCRIPTION: comment_text(exif.get(DESCRIPTION)),
        EXIF_WINDOWS: windows.decode("utf-16-le", "replace").rstrip("\0") if isinstance(windows, bytes) else "",
    }
    for tag in (MAKE, MODEL):
        name, colon, text = comment_text(exif.get(tag)).partition(":")
        if colon and name.lower() in GRAPHS:
            texts[name.lower()] = text
    return texts


def _taken_apart(text: str) -> dict[str, Any]:
    positive, negative, pairs = a1111.parsed(text)
    found: dict[str, Any] = {KEYS[label]: value for label, value in pairs.items() if label in KEYS}
    ours = found.get("version", "").startswith("Fooocus")
    sampler, scheduler = a1111.sampling(pairs.get("Sampler", ""), pairs.get("Schedule type", ""), prefer_gpu=ours)
    if sampler:
        found["sampler"] = sampler
    if scheduler:
        found.setdefault("scheduler", scheduler)
    rest = [label for label, value in pairs.items() if value not in EMPTY and not _has_place(label)]
    if rest:
        found[other_programs.LEFT_OUT] = rest
    return found | {"metadata_scheme": "a1111", "full_prompt": positive, "full_negative_prompt": negative}


def _has_place(label: str) -> bool:
    """Whether a label is read, or tells nothing that a request could."""
    return label in KEYS or label in SAMPLING or label in ABOUT
