"""What a starting engine imports: nothing that drawing does not use, and what it draws with computes the same."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.engine.detectors.vision_towers import vision_file
from tests.toy import toy_draw

pytestmark = pytest.mark.slow

WHAT_TO_DO = f"""
This is diffusers {version("diffusers")}. engine/process/lean_imports.py puts modules of its own in place of some of
its modules, whose names each version may change. If the version is a new one, the message tells what to do:
- "diffusers has no diffusers.models.X": that package moved; give PACKAGES those that import the networks now.
- "cannot import name X from diffusers.loaders…": a network that draws has one base class more: add X to that module in
  LOADERS; or it is another network, of a package that came to be imported: add the package to PACKAGES.
- "No module named diffusers.loaders.X": base classes come from there now; add the module to LOADERS.
- a library in a list that should be empty: `python -X importtime` tells what imports it. What networks only mention
  goes into PACKAGES or LOADERS; what diffusers does without where it is not installed, into ABSENT.
- other bytes of pictures: a base class computes now; take it out of LOADERS.
If nothing helps, `lean_imports` may go: engines then start with three times the processor time.
"""

HEAVY = ["torch._dynamo", "sympy", "transformers", "scipy", "onnxruntime", "diffusers.hooks.group_offloading"]
PROGRAM = f"""
import json, sys
from pathlib import Path
from engine.heartbeat import Heartbeat
from engine.messages import Draw
from engine.process.startup import parse, pipeline_maker

def heavy():
    return [name for name in {HEAVY} if name in sys.modules]

task, arguments, tower = json.load(sys.stdin)
pipeline = pipeline_maker(parse(arguments), Heartbeat())()
found = {{"ready": heavy()}}
assert pipeline.draw(Draw(**task), lambda message: None).outcome == "finished"
found["drawn"] = heavy()
from engine.detectors.clip_vision import ClipVision
pipeline.store.load(Path(tower), ClipVision.load)
found["saw"] = heavy()

import engine.models.unet
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.loaders import PeftAdapterMixin
from transformers import CLIPVisionModel

assert UNet2DConditionModel is engine.models.unet.UNet2DConditionModel
assert hasattr(PeftAdapterMixin, "load_lora_adapter")
found["later"] = heavy()
print(json.dumps(found))
"""


def test_an_engine_imports_what_it_draws_with_and_anything_else_can_be_imported_later(pipeline, toy, tmp_path):
    (tmp_path / "here").mkdir()
    tower = vision_file(tmp_path / "vision.safetensors")
    there, here = toy_draw(tmp_path, checkpoint=toy), toy_draw(tmp_path / "here", checkpoint=toy)
    said = json.dumps([asdict(there), ["0", "--threads", "1", "--builtin", str(toy)], str(tower)])
    found = subprocess.run([sys.executable, "-c", PROGRAM], input=said, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr + WHAT_TO_DO
    imported = json.loads(found.stdout)
    assert imported["ready"] == imported["drawn"] == imported["saw"] == [], WHAT_TO_DO
    assert set(imported["later"]) == {*HEAVY} - {"onnxruntime"}, WHAT_TO_DO
    assert pipeline.draw(here, lambda message: None).outcome == "finished"
    assert Path(there.outputs[0]).read_bytes() == Path(here.outputs[0]).read_bytes(), WHAT_TO_DO
