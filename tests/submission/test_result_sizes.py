"""Pictures that would become too large on their way are refused at the member that makes them so."""

import base64
import io

import pytest
from PIL import Image

from engine import choices
from fooocus_flask.pictures import inputs
from schemas.fields import Upload
from tests.serving import GENERATE, small

MOST = 1_000_000


@pytest.fixture
def app(make_app):
    """A server that makes pictures of at most a million pixels."""
    return make_app(MAX_PIXELS=MOST)


@pytest.fixture
def picture(app):
    """Keeps a picture of this size; its path."""

    def keep(width, height, kind="PNG", **options):
        out = io.BytesIO()
        Image.new("RGB", (width, height)).save(out, kind, **options)
        with app.test_request_context():
            return inputs.current().keep(Upload(out.getvalue()))

    return keep


def answer(client, **members):
    """The places and limits of what is refused; empty where the request is taken."""
    sent = {"base_model_name": choices.BUILTIN_CHECKPOINT, "inpaint_engine": "None", "async_process": True}
    reply = client.post(GENERATE, json=small(**sent, **members))
    faults = reply.json["detail"] if reply.status_code == 422 else []
    assert reply.status_code in (200, 422)
    return [(fault["loc"][1], fault["ctx"]["max_pixels"]) for fault in faults]


@pytest.mark.parametrize(
    ("selections", "distances", "taken"),
    [
        (["Left"], [9500, 9500, 9500, 9500], True),
        (["Left"], [9501, 0, 0, 0], False),
        (["Left", "Top", "Right", "Bottom"], [50_000] * 4, False),
        ([], [50_000] * 4, True),
    ],
)
def test_an_outpainted_picture_may_be_as_large_as_the_setting_says(client, picture, selections, distances, taken):
    sent = {"inpaint_input_image": picture(500, 100), "outpaint_selections": selections}
    refused = answer(client, **sent, outpaint_distance=distances)
    assert refused == ([] if taken else [("outpaint_distance", MOST)])


def test_a_picture_that_comes_with_its_request_is_measured(client):
    out = io.BytesIO()
    Image.effect_noise((600, 600), 50).save(out, "PNG")
    sent = {"uov_input_image": base64.b64encode(out.getvalue()).decode(), "uov_method": "Upscale (2x)"}
    assert answer(client, **sent) == [("uov_input_image", MOST // 4), ("upscale_multiple", MOST)]


def test_a_picture_is_measured_upright(client, picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    sent = {"inpaint_input_image": picture(500, 100, "JPEG", exif=exif), "outpaint_selections": ["Left"]}
    assert answer(client, **sent, outpaint_distance=[1900, 0, 0, 0]) == []
    assert answer(client, **sent, outpaint_distance=[1901, 0, 0, 0]) == [("outpaint_distance", MOST)]


@pytest.mark.parametrize(
    ("side", "method", "factor", "member"),
    [
        (200, "Upscale (Custom)", 5, None),
        (201, "Upscale (Custom)", 5, "upscale_multiple"),
        (500, "Upscale (2x)", 1, None),
        (501, "Upscale (Fast 2x)", 1, "uov_input_image"),
        (1001, "Vary (Subtle)", 5, None),
    ],
)
def test_an_upscaled_picture_may_be_as_large_as_the_setting_says(client, picture, side, method, factor, member):
    refused = answer(client, uov_input_image=picture(side, side), uov_method=method, upscale_multiple=factor)
    assert [place for place, _ in refused][:1] == ([member] if member else [])


@pytest.mark.parametrize(("side", "taken"), [(500, True), (501, False)])
def test_an_enhanced_picture_may_be_as_large_as_the_setting_says(client, picture, side, taken):
    sent = {"enhance_input_image": picture(side, side), "enhance_checkbox": True, "enhance_uov_method": "Upscale (2x)"}
    assert bool(answer(client, **sent)) == (not taken)


@pytest.mark.parametrize(("count", "taken"), [(9, True), (10, False)])
def test_a_grid_may_be_as_large_as_the_setting_says(client, count, taken):
    size = {"aspect_ratios_selection": "320*320", "generate_image_grid": True}
    assert answer(client, image_number=count, **size) == ([] if taken else [("generate_image_grid", MOST)])


def test_the_refusal_says_what_would_work(client, picture):
    sent = {"inpaint_input_image": picture(500, 100), "outpaint_selections": ["Left"]}
    builtin = {"base_model_name": choices.BUILTIN_CHECKPOINT, "inpaint_engine": "None"}
    reply = client.post(GENERATE, json=small(**sent, **builtin, outpaint_distance=[9501, 0, 0, 0]))
    assert reply.json["detail"][0]["msg"] == (
        "A picture of 10001×100 pixels would be needed, and here it may have 1000000: "
        "send smaller distances, or a smaller picture"
    )


def test_without_a_limit_everything_is_taken(make_app):
    client = make_app(MAX_PIXELS=0).test_client()
    assert answer(client, image_number=32, aspect_ratios_selection="2048*2048", generate_image_grid=True) == []
