"""Pictures in requests, from the door to the result: kept, drawn with, and told in the record."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from engine.choices import BUILTIN_CHECKPOINT

pytestmark = pytest.mark.pictures

PAINTED = np.s_[20:44, 20:44]


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def scene():
    y, x = np.mgrid[0:128, 0:128]
    return np.stack([x, y, x], axis=2).astype(np.uint8)


def opened(server, url):
    return np.asarray(Image.open(io.BytesIO(server.get(url.removeprefix(f"http://127.0.0.1:{server.port}")).body)))


def test_a_part_of_a_picture_is_drawn_anew(server):
    mask = np.zeros((128, 128), np.uint8)
    mask[PAINTED] = 255
    pictures = {"inpaint_input_image": png(scene()), "inpaint_mask_image_upload": png(mask)}
    reply = server.draw({**pictures, "inpaint_strength": 0.98, "base_model_name": BUILTIN_CHECKPOINT})
    record = reply.json
    assert (reply.status, record["task_status"]) == (200, "finished")
    (made,) = [opened(server, url) for url in record["result"]]
    assert np.array_equal(made[80:], scene()[80:]) and not np.array_equal(made[PAINTED], scene()[PAINTED])
    assert np.array_equal(opened(server, record["req_params"]["inpaint_input_image"]), scene())
