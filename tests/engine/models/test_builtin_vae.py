"""The built-in VAE leaves no frame: what is plain stays plain at a picture's edges, as in its middle."""

import numpy as np
import pytest
import torch

from engine.files import builtin_set
from engine.models.checkpoint import load_checkpoint

CPU = torch.device("cpu")
RIM = 40
"""How far in a frame reached: the zeros that convolutions see beyond the edge count for some 30 pixels."""
COLOURS = ((77, 128, 230), (178, 178, 178), (128, 77, 38))


@pytest.fixture(scope="module")
def vae():
    return load_checkpoint(builtin_set.CHECKPOINT, CPU).vae


def plain(colour):
    return np.full((256, 320, 3), colour, np.uint8)


def steps(part):
    """The mean difference between neighbouring pixels."""
    return (np.abs(np.diff(part, axis=0)).mean() + np.abs(np.diff(part, axis=1)).mean()) / 2


def framed(made):
    """A picture's strips along its edges, and its middle."""
    made = made.astype(float)
    strips = made[:RIM], made[-RIM:], made[:, :RIM], made[:, -RIM:]
    return strips, made[RIM:-RIM, RIM:-RIM]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("tiled", [False, True])
def test_a_plain_picture_has_the_same_edges_and_middle_after_a_round_trip(vae, colour, tiled):
    latent = vae.encode_mean(torch.from_numpy(plain(colour)).permute(2, 0, 1)[None].float() / 255)
    strips, middle = framed((vae.decode_tiled if tiled else vae.decode)(latent)[0])
    for strip in strips:
        assert steps(strip) <= steps(middle) + 0.1
        assert np.abs(strip - middle.mean((0, 1))).max() <= 3


def test_the_latent_of_a_plain_picture_is_plain(vae):
    latent = vae.encode_mean(torch.from_numpy(plain(COLOURS[0])).permute(2, 0, 1)[None].float() / 255)
    assert float((latent - latent.mean((2, 3), keepdim=True)).abs().max()) < 0.2  # its spread is 7.7
    enlarged = torch.nn.functional.interpolate(latent, scale_factor=1.5, mode="bicubic")
    strips, middle = framed(vae.decode(enlarged)[0])
    assert max(np.abs(strip - middle.mean((0, 1))).max() for strip in strips) <= 3
