"""What a request's pictures are used for."""

import pytest

from engine.choices import CURRENT_TABS
from engine.modes import modes_of, most_pictures
from schemas.fields import defaults
from schemas.generate import EnhanceStepSchema
from tests.toy import toy_params

CONTROL = {"cn_img": "/inputs/c.png", "cn_stop": 0.5, "cn_weight": 0.6, "cn_type": "PyraCanny"}
NO_CONTROL = CONTROL | {"cn_img": None}
UOV = {"uov_input_image": "/inputs/u.png", "uov_method": "Vary (Subtle)"}
INPAINT = {"inpaint_input_image": "/inputs/i.png", "inpaint_mask_image_upload": "/inputs/m.png"}
MIX_UOV = {"mixing_image_prompt_and_vary_upscale": True}
MIX_INPAINT = {"mixing_image_prompt_and_inpaint": True}
ENABLED = defaults(EnhanceStepSchema()) | {"enhance_enabled": True}


def modes(**changes):
    return modes_of(toy_params(**changes))


def test_a_prompt_alone_has_no_goal_besides_drawing():
    found = modes()
    assert found.draws and not (found.vary or found.upscale or found.inpaint or found.control or found.enhance)


@pytest.mark.parametrize(
    ("method", "vary", "upscale", "fast"),
    [
        ("Disabled", False, False, False),
        ("Vary (Strong)", True, False, False),
        ("Upscale (1.5x)", False, True, False),
        ("Upscale (Custom)", False, True, False),
        ("Upscale (Fast 2x)", False, True, True),
    ],
)
def test_the_method_decides_what_happens_to_a_picture(method, vary, upscale, fast):
    found = modes(uov_input_image="/inputs/u.png", uov_method=method)
    assert (found.vary, found.upscale, found.fast) == (vary, upscale, fast)
    assert found.draws is not fast
    assert found.unused == ({"uov_input_image": "uov_method is Disabled"} if method == "Disabled" else {})


def test_the_first_kind_of_picture_decides_and_the_others_are_named():
    found = modes(**UOV, **INPAINT)
    assert found.vary and not found.inpaint
    assert list(found.unused) == ["inpaint_input_image", "inpaint_mask_image_upload"]
    found = modes(**UOV, controlnet_image=[CONTROL])
    assert found.control and not found.vary and list(found.unused) == ["uov_input_image"]


def test_any_control_picture_counts_not_only_the_first():
    found = modes(controlnet_image=[NO_CONTROL, CONTROL])
    assert [prompt.cn_img for prompt in found.control] == ["/inputs/c.png"]


def test_mixing_uses_control_beside_other_pictures():
    found = modes(**UOV, **INPAINT, **MIX_UOV, **MIX_INPAINT, controlnet_image=[CONTROL])
    assert found.vary and found.inpaint and found.control and not found.unused
    assert modes(**UOV, **MIX_UOV).vary


def test_a_picture_to_enhance_goes_before_all_others():
    found = modes(**UOV, enhance_input_image="/inputs/e.png", enhance_checkbox=True, enhance_uov_method="Vary (Subtle)")
    assert found.enhance_given and found.enhance_uov and not found.draws and not found.vary
    assert not modes(enhance_uov_method="Vary (Subtle)").enhance, "the switch is off"


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"uov_method": "Vary (Subtle)"}, {"uov_method": "uov_input_image has no picture"}),
        (
            {"inpaint_mask_image_upload": "/inputs/m.png"},
            {"inpaint_mask_image_upload": "inpaint_input_image has no picture"},
        ),
        ({"outpaint_selections": ["Left"]}, {"outpaint_selections": "inpaint_input_image has no picture"}),
        ({"enhance_uov_method": "Vary (Subtle)"}, {"enhance_uov_method": "enhance_checkbox is false"}),
        ({"enhance_ctrls": [ENABLED]}, {"enhance_ctrls": "enhance_checkbox is false"}),
        ({"enhance_ctrls": [ENABLED], "enhance_checkbox": True}, {}),
    ],
)
def test_what_is_not_used_is_named_with_the_reason(changes, reasons):
    assert modes(**changes).unused == reasons


def test_enhancing_without_anything_to_do_is_named():
    reason = modes(enhance_checkbox=True).unused["enhance_checkbox"]
    assert "enhance_uov_method" in reason and "enhance_enabled" in reason


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"image_number": 3}, 3),
        ({"image_number": 3, "generate_image_grid": True}, 4),
        ({"image_number": 3, "enhance_checkbox": True, "enhance_uov_method": "Vary (Subtle)"}, 6),
        ({"image_number": 3, "uov_input_image": "/inputs/u.png", "uov_method": "Upscale (Fast 2x)"}, 1),
        ({"controlnet_image": [CONTROL], "debugging_cn_preprocessor": True}, 2),
    ],
)
def test_the_most_pictures_a_request_gives(changes, count):
    assert most_pictures(toy_params(**changes)) == count


@pytest.mark.parametrize("tab", CURRENT_TABS)
@pytest.mark.parametrize("pictures", [{}, UOV, INPAINT], ids=["none", "uov", "inpaint"])
def test_the_tab_follows_from_the_pictures_whatever_is_sent(tab, pictures):
    assert modes(current_tab=tab, **pictures) == modes(**pictures)
