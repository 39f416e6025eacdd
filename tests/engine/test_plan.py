"""The steps of a picture, and where a patch or the base ends."""

from pathlib import Path

import pytest

from engine.files.catalogue import Catalogue, Folders
from engine.files.file_sets import Installed, Shipped
from engine.plan import plan_for
from tests.toy import toy_params

INPAINT = {
    "inpaint_input_image": "/inputs/i.png",
    "inpaint_mask_image_upload": "/inputs/m.png",
    "inpaint_engine": "v2.6",
}


CATALOGUE = Catalogue(Folders({}))
SHIPPED, INSTALLED = Shipped(CATALOGUE), Installed(CATALOGUE, Path("mine.safetensors"))


def switch(files, **changes):
    return plan_for(toy_params(**INPAINT | changes), files).inpainting().steps().switch


@pytest.mark.parametrize(("steps", "builtin", "checkpoint"), [(-1, 24, 24), (20, 16, 24), (60, 48, 24)])
def test_a_patch_ends_by_the_modes_steps_and_the_built_in_ones_by_its_own(steps, builtin, checkpoint):
    assert switch(SHIPPED, overwrite_step=steps) == builtin
    assert switch(INSTALLED, overwrite_step=steps) == checkpoint


def test_a_switch_that_is_asked_for_goes_before_both():
    assert {switch(files, overwrite_step=20, overwrite_switch=5) for files in (SHIPPED, INSTALLED)} == {5}
