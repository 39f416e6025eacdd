"""The judge of objects sees as many painted things as its prompts ask for; evaluation refuses what is not in force."""

from pathlib import Path

import pytest

from engine.gpu.capabilities import DrawingSettings
from tests.training.sprites import bundle
from training import evaluate
from training.compose import read_sprites
from training.judge import judge_plans


def test_half_of_what_the_judge_sees_is_painted_in_all_classes(tmp_path):
    facts, _ = read_sprites(bundle(tmp_path) / "sprites.zip")
    facts[-1] |= {"group": "person"}
    groups = {"some": list(range(12)), "others": list(range(12, 23)), "people": [23]}
    plan, labels = judge_plans(facts, groups, 600, 1)
    assert [(labels == number).sum() for number in range(3)] == [200, 200, 200]
    painted = [plan["recolour"][labels == number, 0, 0] >= 0 for number in range(3)]
    assert painted[0].mean() == pytest.approx(0.5, abs=0.12)
    assert painted[1].mean() == pytest.approx(0.5, abs=0.12)
    assert not painted[2].any()


def test_pictures_are_not_judged_as_of_products_in_8_bits_where_none_are_computed(tmp_path):
    settings = DrawingSettings(unet_arithmetic="fp8")
    with pytest.raises(SystemExit, match="UNET_ARITHMETIC=fp8 has no effect"):
        evaluate.drawn(Path("none.safetensors"), ["a cat"], (512, 512), tmp_path, "cpu", settings)
