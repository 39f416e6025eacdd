"""The upscaler's training program, run whole with a few steps."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from engine.models.upscaler import Network, Upscaler, named
from tests.training.sprites import bundle
from training import train_upscaler

pytestmark = pytest.mark.slow


def test_the_program_writes_a_file_that_the_engine_doubles_pictures_with(tmp_path):
    command = [sys.executable, "-m", "training.train_upscaler", "--tiny", "--out", str(tmp_path / "out")]
    ran = subprocess.run([*command, "--bundle", str(bundle(tmp_path))], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    upscaler = Upscaler.load(tmp_path / "out" / train_upscaler.FILE, torch.device("cpu"))
    assert upscaler.scale == 2 and upscaler.upscale(np.zeros((24, 40, 3), np.uint8)).shape == (48, 80, 3)
    figures = json.loads((tmp_path / "out" / "upscaler.json").read_text())
    assert [*figures] == ["shrunken by bicubic", "shrunken by area", "through the VAE"]
    assert all(row["bicubic"] > 20 and {"upscaled", "least gain", "losing"} <= row.keys() for row in figures.values())


def test_an_untrained_network_enlarges_bilinearly():
    torch.manual_seed(0)
    names = train_upscaler.untrained(train_upscaler.Shape())
    for name, tensor in names.items():
        if name.startswith("body"):
            tensor.zero_()
    network = Network(named(names))
    network.load_state_dict(named(names))
    small = torch.rand(1, 3, 12, 16)
    made = network(small)[:, :, 2:-2, 2:-2]
    wanted = torch.nn.functional.interpolate(small, scale_factor=2, mode="bilinear")[:, :, 2:-2, 2:-2]
    assert torch.allclose(made, wanted, atol=1e-5)


def test_crops_are_of_one_place_in_both_sizes():
    large = torch.zeros(2, 3, 64, 64)
    large[:, :, 20:40, 10:30] = 1
    large = torch.nn.functional.interpolate(large, size=(64, 64))
    canvases = train_upscaler.Canvases(
        (large * 255).to(torch.uint8), (torch.nn.functional.avg_pool2d(large, 2) * 255).to(torch.uint8)
    )
    small, wanted = canvases.crops(8, 16, torch.Generator().manual_seed(2))
    assert small.shape == (8, 3, 16, 16) and wanted.shape == (8, 3, 32, 32)
    again = torch.nn.functional.avg_pool2d(wanted, 2)
    assert (again - small).abs().mean() < 0.02 and small.std() > 0.1
