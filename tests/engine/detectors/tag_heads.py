"""A small tag head as a file: its tags follow from the first numbers of a vector."""

import torch

from engine.models import eight_bit
from tests.engine.detectors.vision_towers import PROJECTED

GROUPS = {
    "object": ["apple", "cat", "glasses"],
    "count": ["nothing", "one thing", "two things"],
    "colour": ["red", "blue"],
    "place": ["plain background", "on the grass"],
}


def tag_head(path, groups=None, width=PROJECTED, **changes):
    """The path of a head each of whose outputs is one number of the vector, tenfold; or only its bias counts."""
    groups = GROUPS if groups is None else groups
    weight = 10 * torch.eye(sum(len(tags) for tags in groups.values()), width)
    tensors = {"weight": weight, "bias": torch.zeros(len(weight))} | changes
    eight_bit.pack(tensors, path, {"groups": groups, "coloured": ["apple", "cat"]})
    return path
