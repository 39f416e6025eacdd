"""Whatever is sent as a picture, to whatever takes one: a clear answer, and a server that goes on."""

import hashlib
from io import BytesIO
from pathlib import Path

import pytest

from engine.images import reading
from tests import broken_pictures
from tests.broken_pictures import base64_of, noise, saved
from tests.engine.picture_models import picture_models
from tests.serving import GENERATE, Server, engines, small
from tests.tool_models import tool_models
from tests.toy import narrow_checkpoint

GOOD = base64_of(saved(noise()))
MEMBERS = {
    "uov_input_image": {"uov_method": "Upscale (Fast 2x)"},
    "inpaint_input_image": {"outpaint_selections": ["Left"], "outpaint_distance": [8, 8, 8, 8]},
    "inpaint_mask_image_upload": {"inpaint_input_image": GOOD},
    "controlnet_image": {},
    "enhance_input_image": {"enhance_checkbox": True, "enhance_uov_method": "Upscale (Fast 2x)"},
}
"""The members that take pictures, and what makes the engine use them."""

TOOLS = {
    "/v1/tools/generate_mask": {"mask_model": "u2netp"},
    "/v1/tools/describe-image": {"image_type": "Anime"},
    "/v1/tools/read-metadata": {},
}
BROKEN, DAMAGED, ODD = (dict(kind()) for kind in (broken_pictures.broken, broken_pictures.damaged, broken_pictures.odd))


@pytest.fixture(scope="module")
def server(tmp_path_factory, database):
    """A server with models for all of it, whose queue is paused: what is accepted waits."""
    folder = tool_models(picture_models(tmp_path_factory.mktemp("models"), narrow_checkpoint))
    server = Server(tmp_path_factory.mktemp("instance"), folder).ready()
    server.ask("POST", "/v1/engine/queue/pause")
    yield server
    server.stop()


def request(member: str, picture: str) -> dict:
    """A small request with the picture in this member."""
    value = [{"cn_img": picture, "cn_type": "PyraCanny"}] if member == "controlnet_image" else picture
    usual = {"base_model_name": "base.safetensors", "loras": [], "overwrite_step": 1, "async_process": True}
    return small(**usual, **MEMBERS[member], **{member: value})


def answers(server: Server, data: bytes) -> dict:
    """What is answered where: by member and by tool."""
    told = {member: server.ask("POST", GENERATE, request(member, base64_of(data))) for member in MEMBERS}
    return told | {path: server.ask("POST", path, more | {"image": base64_of(data)}) for path, more in TOOLS.items()}


def statuses(server: Server, data: bytes) -> dict:
    """The same in numbers, once it is known that the server is well; what was accepted is cancelled."""
    told = answers(server, data)
    for member in MEMBERS:
        if told[member].status == 200:
            server.ask("POST", f"/tasks/{told[member].json['task_id']}/cancel")
    assert server.get("/ping").status == 200
    return {place: reply.status for place, reply in told.items()}


@pytest.fixture(scope="module", autouse=True)
def unharmed(server):
    """Afterwards the engine is the one that was there, inputs are whole pictures, and nothing unforeseen was logged."""
    before = engines(server.process.pid)
    yield
    assert engines(server.process.pid) == before
    for path in Path(server.instance / "inputs").iterdir():
        data = path.read_bytes()
        assert path.name == f"{hashlib.sha256(data).hexdigest()}.{reading.ending(data)}"
    assert [line for line in server.lines if "Traceback" in line or " ERROR " in line] == []


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_picture_is_refused_everywhere(server, name):
    assert set(statuses(server, BROKEN[name]).values()) == {422}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_picture_is_taken_or_refused(server, name):
    assert set(statuses(server, DAMAGED[name]).values()) <= {200, 422}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_picture_is_taken_everywhere(server, name):
    assert set(statuses(server, ODD[name]).values()) == {200}


@pytest.mark.parametrize("name", ["a page", "PNG of 60000 pixels a side", "JPEG of which 50 % are there"])
def test_a_file_in_a_form_is_looked_at_alike(client, name):
    for member in set(MEMBERS) - {"controlnet_image"} | {"controlnet_image.0.cn_img"}:
        assert client.post(GENERATE, data={member: (BytesIO(BROKEN[name]), "cat.png")}).status_code == 422
    for path in ("/v1/tools/describe-image", "/v1/tools/read-metadata"):
        assert client.post(path, data={"image": (BytesIO(BROKEN[name]), "cat.png")}).status_code == 422


def test_odd_pictures_are_drawn_with(server):
    """One each for every member, by turns, through the engine to the end."""
    names = ["CMYK JPEG", "16 bits", "animated GIF", "broken colour profile in PNG", "broken EXIF"]
    assert server.ask("POST", "/v1/engine/queue/pause").json["pending"] == 0
    sent = {}
    for member, name in zip(MEMBERS, names, strict=True):
        sent[name] = server.ask("POST", GENERATE, request(member, base64_of(ODD[name]))).json["task_id"]
    server.ask("POST", "/v1/engine/queue/resume")
    ended = {name: server.ended(task_id) for name, task_id in sent.items()}
    assert {name: (task["task_status"], task["error"]) for name, task in ended.items()} == dict.fromkeys(
        names, ("finished", None)
    )
