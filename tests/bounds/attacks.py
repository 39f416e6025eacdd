"""Requests of less than a megabyte that are as bad as their member allows."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from marshmallow import Schema, fields
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from schemas.control import ControlSchema
from schemas.fields import Text
from schemas.prompts import PromptText
from schemas.submission import SubmissionSchema
from schemas.tasks import TasksQuerySchema
from schemas.tools import DescribeSchema, MaskSchema, ReadMetadataSchema
from tests.serving import GENERATE

SIZE = 990_000
DESCRIBE, READ_METADATA = "/v1/tools/describe-image", "/v1/tools/read-metadata"
LONGEST_FILE_NAME = 255
BODIES: dict[str, type[Schema]] = {
    GENERATE: SubmissionSchema,
    "/v1/tools/generate_mask": MaskSchema,
    DESCRIBE: DescribeSchema,
    READ_METADATA: ReadMetadataSchema,
    "/v1/engine/control": ControlSchema,
}
"""The shape of each route's body."""

VALUES = {
    "a long text": json.dumps("a" * SIZE),
    "a text of escapes": json.dumps("\u732b" * (SIZE // 6)),
    "400 digits": "9" * 400,
    "4,300 digits": "9" * 4300,
    "a million digits": "9" * SIZE,
    "a list of objects": json.dumps([{}] * (SIZE // 4)),
    "a list of 40,000 objects": json.dumps([{}] * 40_000),
    "a list of 9,000 objects": json.dumps([{}] * 9_000),
    "a list of numbers": json.dumps([1] * (SIZE // 3)),
    "a list of 90,000 texts": json.dumps(["x"] * 90_000),
    "deep lists": "[" * (SIZE // 2) + "]" * (SIZE // 2),
    "900 deep lists": "[" * 900 + "]" * 900,
    "an object of 70,000 members": json.dumps(dict.fromkeys(map(str, range(70_000)), 0)),
    "an object of 19,000 members": json.dumps(dict.fromkeys(map(str, range(19_000)), 0)),
    "30 deep lists": "[" * 30 + "]" * 30,
}
"""JSON that any member may be sent."""

PIECES = (
    *("(", "((a:1.1", "(a)", "[", "[[a,", "[[a]]", "__", "__a__", "<lora:", "<lora:a:1>", "embedding:"),
    *("a,", "a ", "\\", "🐱"),
)
"""What texts are made of that a parser of prompts reads again and again."""


@dataclass(frozen=True)
class Attack:
    """One request; `what` names its kind for people."""

    what: str
    path: str
    body: bytes = b""
    kind: str = "application/json"
    method: str = "POST"
    at_once: int = 1


def attacks() -> Iterator[Attack]:
    """All of them, member by member."""
    for path, schema in BODIES.items():
        for name, field in schema().fields.items():
            for what, value in VALUES.items():
                yield Attack(what, path, f'{{"{name}":{value}}}'.encode())
            yield from texts_too_long(path, name, field)
            yield from names_too_long(path, name, field)
    yield from prompts()
    yield from styles()
    yield from bodies()
    yield from forms()
    yield from queries()
    yield from pictures()


def beginnings() -> Iterator[Attack]:
    """Requests as people send them: what they need is loaded afterwards."""
    yield Attack("a picture is drawn", GENERATE, body(async_process=False))
    for path in (DESCRIBE, READ_METADATA):
        yield Attack("a picture is looked at", path, body(image=base64.b64encode(png((100, 100))).decode()))


def texts_too_long(path: str, name: str, field: fields.Field) -> Iterator[Attack]:
    """A text member full of each piece."""
    if isinstance(field, Text):
        for piece in PIECES:
            yield Attack(f"a megabyte of {piece}", path, body(**{name: piece * (SIZE // len(piece.encode()))}))


def names_too_long(path: str, name: str, field: fields.Field) -> Iterator[Attack]:
    """A text member full to its bound: longer than a file's name may be, if it is looked for on the disk."""
    if isinstance(field, Text) and field.longest and field.longest > LONGEST_FILE_NAME:
        for letter in ("a", "é", "a/"):
            text = (letter * field.longest)[: field.longest]
            for ending in ("", ".safetensors", ".png"):
                yield Attack("a long name", path, body(**{name: text[: field.longest - len(ending)] + ending}))


def prompts() -> Iterator[Attack]:
    """Prompts that are just taken."""
    longest = {
        name: field.longest for name, field in SubmissionSchema().fields.items() if isinstance(field, PromptText)
    }
    for piece in PIECES:
        plain = piece.replace("(", "a(").replace("[", "a[") if piece in "([" else piece
        for name, length in longest.items():
            text = (plain * (length or 0))[:length]
            yield Attack("a prompt that is just taken", GENERATE, body(**{name: text}, image_number=32))
    for name in ("a" * 300, "é" * 200, "a/" * 3000, "\x1b[2J"):
        told = f"a cat, embedding:{name}, <lora:{name}:1>, __{name}__"
        yield Attack("a prompt with a long name", GENERATE, body(prompt=told))
    unknown = " ".join(f"embedding:x{number}" for number in range(1500))
    yield Attack("a prompt that is just taken", GENERATE, body(prompt=unknown))
    tags = "".join(f"<lora:{number}:1>" for number in range(1400))
    yield Attack("a prompt that is just taken", GENERATE, body(prompt=tags, image_number=32))
    yield Attack("a prompt that is just taken", GENERATE, body(prompt="(" * 50 + "a cat, " * 2800 + ")" * 50))
    yield Attack("a prompt that is just taken", GENERATE, body(prompt="\n".join(["a cat " * 50] * 64), image_number=32))


def styles() -> Iterator[Attack]:
    """Many styles, known and misspelt."""
    known = list(SubmissionSchema().style_names())
    yield Attack("all styles", GENERATE, body(style_selections=known, prompt="a cat"))
    yield Attack("512 random styles", GENERATE, body(style_selections=["Random Style"] * 512, prompt="a"))
    for name in ("Fooocus Enhanse", "SAI Line Arx" + "x" * 244, "a" * 256):
        yield Attack("misspelt styles", GENERATE, body(style_selections=[name] * 512))
        yield Attack("misspelt styles", GENERATE, body(style_selections=[name] * 3000))


def bodies() -> Iterator[Attack]:
    """Bodies that are no request, under every name of a kind."""
    pairs = b"a&" * (SIZE // 2), b"a=1&" * (SIZE // 4)
    for path in BODIES:
        for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            for data in (b"{}," * (SIZE // 3), b"[" * SIZE, *pairs, VALUES["an object of 70,000 members"].encode()):
                yield Attack(f"a strange body as {kind}", path, data, kind)


def forms() -> Iterator[Attack]:
    """Forms: deep and long names, many parts, long heads, lines without end."""
    for path in (GENERATE, DESCRIBE, READ_METADATA, "/v1/tools/generate_mask", "/v1/engine/control"):
        for what, data in {
            "a deep name": part("a" + ".a" * (SIZE // 2)),
            "a name of brackets": part("a" + "[a]" * (SIZE // 3)),
            "a long head": part("a", head="X: " + "y" * SIZE),
            "many heads": part("a", head="\r\n".join(["X: y"] * (SIZE // 6))),
            "1,000 parts": b"".join(part(f"loras.{number % 64}.weight", "1") for number in range(1000)),
            "1,001 parts": b"".join(part(f"p{number}") for number in range(1001)),
            "no part": b"\r\n" * (SIZE // 2),
            "no end": part("a", "\r\n--" * (SIZE // 4)),
            "a list of texts": part("style_selections", VALUES["a list of numbers"]),
            "a part of JSON": part("json", VALUES["a list of objects"]),
            "a file of JSON": part("json", VALUES["a list of 40,000 objects"]).replace(
                b'"json"', b'"json"; filename="a"'
            ),
            "a part of NaN": part("json", '{"sharpness": NaN}'),
        }.items():
            yield Attack(f"a form: {what}", path, data + b"--x--\r\n", "multipart/form-data; boundary=x")


def part(name: str, text: str = "x", head: str = "") -> bytes:
    """A part of a form with the boundary x."""
    lines = ["--x", f'Content-Disposition: form-data; name="{name}"', *([head] if head else []), "", text, ""]
    return "\r\n".join(lines).encode()


def queries() -> Iterator[Attack]:
    """Parameters as long as a request's first line may be."""
    for name in TasksQuerySchema().fields:
        for value in ("9" * 400, "9" * 7000, "a " * 500, "a" * 7000, "%" * 2000, "(" * 7000, "2024-07-05T" * 500):
            yield Attack("a long parameter", f"/tasks?{name}={quote(value)[:8000]}", method="GET")
    for path in ("/tasks/{}", "/tasks/{}/deliveries", "/outputs/{}/a.png", "/inputs/{}.png", "/{}"):
        for text in ("9" * 400, "9" * 7000, "a/" * 3000, "..%2f" * 1500):
            yield Attack("a long path", path.format(text), method="GET")
    yield Attack("a long path", f"/tasks/a/deliveries/{'9' * 5000}/replay")


def pictures() -> Iterator[Attack]:
    """Pictures that are small as files: many pixels, many texts, and those that a request lets grow."""
    large, tall = png((7071, 7071)), png((100, 500_000))
    for data in (large, tall, png((7100, 7100)), texts_png(), packed_png()):
        for path in (GENERATE, DESCRIBE, READ_METADATA, "/v1/tools/generate_mask"):
            name = "uov_input_image" if path == GENERATE else "image"
            yield Attack("a picture", path, body(**{name: base64.b64encode(data).decode()}))
    sent = base64.b64encode(large).decode()
    yield Attack("24 pictures of 50 megapixels at once", READ_METADATA, body(image=sent), at_once=24)
    sent_texts = base64.b64encode(texts_png()).decode()
    yield Attack("24 pictures of many texts at once", READ_METADATA, body(image=sent_texts), at_once=24)
    small, method = base64.b64encode(png((1000, 1000))).decode(), "Upscale (Custom)"
    outpaint = {"outpaint_selections": ["Left", "Right", "Top", "Bottom"], "outpaint_distance": [65_535] * 4}
    yield Attack("a picture that grows", GENERATE, body(inpaint_input_image=small, **outpaint))
    yield Attack("a picture that grows", GENERATE, body(uov_input_image=sent, uov_method=method, upscale_multiple=5))
    yield Attack("a picture that grows", GENERATE, body(uov_input_image=sent, uov_method=method, upscale_multiple=1))
    enhance = {"enhance_checkbox": True, "enhance_uov_method": method, "upscale_multiple": 5}
    yield Attack("a picture that grows", GENERATE, body(enhance_input_image=sent, **enhance))


def png(size: tuple[int, int]) -> bytes:
    """A black picture."""
    out = io.BytesIO()
    Image.new("L", size).save(out, "PNG")
    return out.getvalue()


def texts_png() -> bytes:
    """A small picture with many short texts."""
    out, info = io.BytesIO(), PngInfo()
    for number in range(20_000):
        info.add_text(f"k{number}", "9" * 20)
    info.add_text("parameters", "a, " * 100_000 + "\nSteps: " + "9" * 4200)
    Image.new("L", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def packed_png() -> bytes:
    """A small picture whose text is large once it is unpacked."""
    out, info = io.BytesIO(), PngInfo()
    info.add(b"zTXt", b"parameters\0\0" + zlib.compress(b"(" * 300_000_000))
    Image.new("L", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def body(**members: object) -> bytes:
    """A request's JSON; drawing, if it comes to that, is short, and nobody waits for it."""
    toy = {"base_model_name": "toy.safetensors", "aspect_ratios_selection": "64*64", "overwrite_step": 1}
    return json.dumps({**toy, "style_selections": [], "async_process": True, **members}, ensure_ascii=False).encode()
