"""Frames between the web process and the fleet's driver: each message comes through with its card."""

import io

import pytest

from engine.fleet import frames
from engine.fleet.frames import (
    BringFile,
    CardFiles,
    CardJoined,
    CardLeaving,
    CardLeft,
    CardLost,
    FileBrought,
    Follow,
    Replace,
)
from engine.messages import Draw, Progressed
from engine.process import wire

MESSAGES = [
    Draw("t", {"prompt": "a cat"}, ["/a.png"]),
    Progressed("t", 3, "Sampling", b"png"),
    Follow("t", True),
    Replace(),
    CardJoined("machine"),
    BringFile("loras", "a.safetensors", 5, "/models/loras/a.safetensors"),
    CardFiles(["/models/a.safetensors"], {"loras": {"a.safetensors": 5}}),
    FileBrought("loras", "a.safetensors", 3, True, "the disk is full"),
    CardLost("gone"),
    CardLeaving(),
    CardLeft("gone"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_comes_through_with_its_card(message):
    stream = io.BytesIO(frames.pack("machine-0", message))
    assert frames.unpack(*wire.read(stream)) == ("machine-0", message)
