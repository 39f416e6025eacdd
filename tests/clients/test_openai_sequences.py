"""What programs send that no test can install, written down from what they are known to send: each gets its picture."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.blueprints.images_api import png, send_form
from tests.engine.picture_models import picture_models
from tests.serving import Server
from tests.toy import narrow_checkpoint

SEQUENCES = sorted((Path(__file__).parent / "openai_sequences").glob("*.json"))
DEFAULTS = {
    "default_model": "base.safetensors",
    "default_aspect_ratio": "512*512",
    "default_overwrite_step": 1,
    "default_styles": ["Fooocus Sharp"],
}
"""The operator's, for none of these programs names a model of this server or steps, and few a size."""


@pytest.fixture(scope="module")
def server(tmp_path_factory, database):
    """A server without keys that draws large pictures quickly."""
    folder = tmp_path_factory.mktemp("sequences")
    (folder / "instance").mkdir()
    (folder / "instance" / "config.txt").write_text(json.dumps(DEFAULTS))
    server = Server(folder / "instance", picture_models(folder / "models", narrow_checkpoint)).ready()
    yield server
    server.stop()


def file(part):
    """The file of a part: noise, and for a mask a transparent hole."""
    pixels = np.random.default_rng(1).integers(0, 255, (128, 128, 4)).astype(np.uint8)
    pixels[:, :, 3] = 255
    if part == "mask":
        pixels[32:96, 32:96, 3] = 0
    return png(pixels)


def picture(server, entry, reads):
    """The picture in an answer's entry, found as the program finds it."""
    found = next(name for name in reads if name in entry)
    if found == "b64_json":
        return Image.open(io.BytesIO(base64.b64decode(entry[found])))
    return Image.open(io.BytesIO(server.get(entry[found].removeprefix(f"http://127.0.0.1:{server.port}")).body))


@pytest.mark.parametrize("sequence", SEQUENCES, ids=[path.stem for path in SEQUENCES])
def test_a_program_gets_its_pictures(server, sequence):
    for step in json.loads(sequence.read_text()):
        if "json" in step:
            reply = server.ask("POST", step["path"], step["json"], Authorization="Bearer sk-none")
        else:
            parts = [(part, file(part)) for part in step["files"]]
            reply = send_form(server, step["path"], *parts, **step["form"])
        assert reply.status == 200, (step, reply.body[:500])
        pictures = [picture(server, entry, step["reads"]) for entry in reply.json["data"]]
        assert len(pictures) == int(step.get("json", step.get("form")).get("n", 1))
        if "size" in step:
            assert pictures[0].size == tuple(step["size"])
