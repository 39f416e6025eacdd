"""The files this program knows by name."""

from pathlib import PurePosixPath

from engine.choices import PERFORMANCES
from engine.files.catalogue import SUFFIXES, has_suffix
from engine.files.known_files import FILES, by_name
from engine.required_files import needs
from tests.toy import toy_params


def test_every_file_lies_in_a_kind_of_folder_that_lists_its_like():
    for file in FILES:
        assert has_suffix(PurePosixPath(file.name), SUFFIXES[file.kind]), file


def test_addresses_are_whole_and_no_file_stands_twice():
    assert all(file.url.startswith("https://") for file in FILES)
    assert len({(file.kind, file.name) for file in FILES}) == len(FILES)


def test_the_loras_of_the_fast_modes_are_known_by_the_same_address():
    for mode in PERFORMANCES.values():
        if mode.lora:
            assert by_name("loras", mode.lora).url == mode.lora_url


CONTROL = [
    {"cn_img": "/inputs/c.png", "cn_stop": 0.5, "cn_weight": 0.6, "cn_type": kind}
    for kind in ("ImagePrompt", "FaceSwap", "PyraCanny", "CPDS")
]


def test_whatever_a_feature_needs_is_known():
    asked = {
        "controlnet_image": CONTROL,
        "mixing_image_prompt_and_inpaint": True,
        "mixing_image_prompt_and_vary_upscale": True,
        "inpaint_input_image": "/inputs/i.png",
        "uov_input_image": "/inputs/u.png",
        "uov_method": "Upscale (2x)",
        "performance_selection": "Hyper-SD",
        "black_out_nsfw": True,
    }
    found = needs(toy_params(**asked))
    assert len(found) == 12
    assert all(by_name(need.kind, need.name) for need in found)
