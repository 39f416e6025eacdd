"""Requests by OpenAI's Images API, small ones, and what comes back."""

from __future__ import annotations

import base64
import io
import json
import socket
import time
from typing import Any

import numpy as np
from PIL import Image
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.test import encode_multipart

from tests.patience import patiently
from tests.serving import Reply, Server, small

GENERATIONS, EDITS, VARIATIONS = (f"/v1/images/{route}" for route in ("generations", "edits", "variations"))
TOY = {"model": "toy", "size": "64x64", "steps": 2, "seed": 7, "style_selections": []}
"""What `small` is in their words."""


def request(**members: Any) -> dict[str, Any]:
    """A request that is drawn in a tenth of a second."""
    return {"prompt": "a cat", **TOY, **members}


def draw(server: Server, **members: Any) -> Reply:
    """The answer of such a request."""
    return server.ask("POST", GENERATIONS, request(**members))


def native(server: Server, **members: Any) -> list[bytes]:
    """The files of our own request's pictures."""
    told = server.draw(small(**members)).json
    assert told["task_status"] == "finished", told
    return [server.get(url.removeprefix(f"http://127.0.0.1:{server.port}")).body for url in told["result"]]


def files(reply: Reply) -> list[bytes]:
    """The pictures in an answer."""
    assert reply.status == 200, reply.body
    return [base64.b64decode(entry["b64_json"]) for entry in reply.json["data"]]


def send_form(server: Server, path: str, *pictures: tuple[str, bytes], **members: Any) -> Reply:
    """The answer of a request as a form, with these parts as files."""
    parts: MultiDict[str, Any] = MultiDict((name, str(value)) for name, value in members.items())
    for name, data in pictures:
        parts.add(name, FileStorage(io.BytesIO(data), "picture.png", name))
    boundary, body = encode_multipart(parts)
    return server.ask("POST", path, body, Content_Type=f"multipart/form-data; boundary={boundary}")


def png(pixels: np.ndarray) -> bytes:
    """A picture's file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def pixels(data: bytes) -> np.ndarray:
    """A file's pixels."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def events(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream, by name; comments are left out."""
    found = []
    for block in body.decode().split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith(":")]
        if lines:
            name, data = (line.partition(": ")[2] for line in lines)
            found.append((name, json.loads(data)))
    return found


def connected(server: Server, body: dict[str, Any], /, **headers: str) -> socket.socket:
    """A connection on which a request was sent whose answer nobody reads."""
    data = json.dumps(body).encode()
    lines = [
        f"POST {GENERATIONS} HTTP/1.1",
        "Host: h",
        f"Content-Length: {len(data)}",
        "Content-Type: application/json",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + data)
    return connection


def tasks(server: Server, kind: str) -> dict[str, dict[str, Any]]:
    """The tasks of this list, by their prompts."""
    return {task["req_params"]["prompt"]: task for task in server.get(f"/tasks?query={kind}&page_size=50").json[kind]}


def until(server: Server, prompt: str, *kinds: str) -> dict[str, Any]:
    """The task of this prompt, once it is in one of these lists."""

    def look(seconds: float) -> dict[str, Any] | None:
        found = next((task for kind in kinds if (task := tasks(server, kind).get(prompt))), None)
        if found is None:
            time.sleep(seconds)
        return found

    return patiently(look, f"{prompt} is not among {kinds}", server.process.pid)
