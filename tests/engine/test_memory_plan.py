"""Memory plans of cards of every size, worked out without one."""

import subprocess
import sys
from dataclasses import replace

import pytest

from engine.memory_plan import AHEAD, GIB, LIBRARIES, MemoryPlan, Parts, Work, ladder, needed, plan_memory, smaller

SDXL = Parts(unet=int(4.78 * GIB), text_encoders=int(1.52 * GIB), vae=GIB // 6, blocks=60, block=70 << 20)
DEFAULT = Work.of((1152, 896))
CUDA = int(0.6 * GIB) + LIBRARIES
"""Bytes that a process on CUDA takes before its first weight, and what its libraries take later."""


@pytest.mark.parametrize(
    ("gib", "mode"),
    [
        (24, "resident"),
        (12, "resident"),
        (10, "turns"),
        (8, "alone"),
        (7, "alone"),
        (6, "streamed"),
        (4, "streamed"),
        (3, "streamed"),
    ],
)
def test_a_card_draws_a_default_picture_under_the_most_comfortable_plan_that_fits(gib, mode):
    available = gib * GIB - CUDA
    plan = plan_memory(available, SDXL, DEFAULT)
    assert (plan.mode, plan.tiles) == (mode, False)
    assert needed(plan, SDXL, DEFAULT) <= available


def test_only_as_many_blocks_are_streamed_as_do_not_fit():
    available = 4 * GIB - CUDA
    plan = plan_memory(available, SDXL, DEFAULT)
    fewer = replace(plan, streamed=plan.streamed - 1)
    assert AHEAD + 2 < plan.streamed < plan.blocks
    assert needed(plan, SDXL, DEFAULT) <= available < needed(fewer, SDXL, DEFAULT)


def test_adapters_a_refiner_and_larger_pictures_take_the_comfort_of_a_plan():
    control, refined = replace(SDXL, adapters=int(2.3 * GIB)), replace(SDXL, refiner=SDXL.unet)
    assert plan_memory(12 * GIB - CUDA, control, DEFAULT).mode == "turns"
    assert plan_memory(8 * GIB - CUDA, control, DEFAULT).mode == "streamed"
    assert plan_memory(12 * GIB - CUDA, refined, DEFAULT).mode == "alone"
    assert plan_memory(12 * GIB - CUDA, SDXL, Work.of((1536, 1536))).mode == "turns"
    assert plan_memory(12 * GIB - CUDA, SDXL, Work.of((2048, 2048))).mode == "alone"


def test_a_card_of_16_gb_keeps_everything_with_a_lora_of_all_weights_merged():
    originals, file = SDXL.unet, int(0.4 * GIB)
    assert plan_memory(16 * GIB - CUDA - originals - file, SDXL, DEFAULT).mode == "resident"


def test_the_vae_works_in_tiles_only_where_a_whole_picture_never_fits():
    huge = Work.of((2304, 1792))
    assert not plan_memory(7 * GIB, SDXL, huge).tiles
    assert plan_memory(6 * GIB, SDXL, huge).tiles
    assert plan_memory(10 * GIB, SDXL, Work.of((2304, 1792), half=False)).tiles


def test_the_smallest_plan_is_tried_where_nothing_fits():
    plan = plan_memory(GIB, SDXL, DEFAULT)
    assert (plan.mode, plan.streamed, plan.tiles) == ("streamed", 60, True)


@pytest.mark.parametrize("gib", [12, 10, 8, 6, 4])
def test_steps_down_need_less_and_less_and_end(gib):
    plan, seen = plan_memory(gib * GIB - CUDA, SDXL, DEFAULT), []
    while plan is not None:
        seen.append(needed(plan, SDXL, DEFAULT))
        last, plan = plan, smaller(plan, gib * GIB, SDXL)
    assert seen == sorted(seen, reverse=True) and len(seen) < 25
    assert (last.mode, last.streamed, last.tiles) == ("streamed", 60, True)


def test_a_card_of_eight_gib_that_computes_in_fp32_has_a_plan_that_fits():
    wide = Work.of((1152, 896), half=False, unet_half=False)
    plan = plan_memory(8 * GIB - CUDA, SDXL, wide)
    assert wide.sampling > 1.99 * DEFAULT.sampling and needed(plan, SDXL, wide) <= 8 * GIB - CUDA


def test_a_unet_without_blocks_to_stream_has_plans_too():
    small = Parts(100, 100, 100)
    assert [plan.mode for plan in ladder(1000, small)] == ["resident", "turns", "alone"]
    assert plan_memory(0, small, DEFAULT).tiles


def test_a_plan_may_be_asked_to_be_no_more_comfortable_than_another():
    assert plan_memory(24 * GIB, SDXL, DEFAULT, least="alone").mode == "alone"
    assert plan_memory(24 * GIB, SDXL, DEFAULT, least="streamed").streamed


def test_a_plan_is_told_in_few_words():
    assert MemoryPlan().told() == {"plan": "resident"}
    streamed = MemoryPlan("streamed", 4 * GIB, 30, 60)
    assert streamed.told() == {"plan": "streamed", "streamed_blocks": 30, "blocks": 60}
    assert str(streamed) == "streamed, 30 of 60 blocks streamed in 4.00 GiB"
    assert MemoryPlan("alone", GIB, tiles=True).told() == {"plan": "alone", "tiles": True}


def test_plans_are_made_without_torch():
    program = "import sys, engine.memory_plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
