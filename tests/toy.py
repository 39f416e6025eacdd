"""A toy checkpoint of random weights, and requests for it: the real engine at a size that draws in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.make_checkpoint import SIZES, Size, write
from engine.messages import Draw
from engine.models.checkpoint import read_tensors
from engine.models.eight_bit import TABLE_G, TABLE_L, pack
from engine.modes import most_pictures
from engine.params import GenerateParams
from schemas.generate import DEFAULTS

NARROWEST = Size((8, 8), (0, 0), 1, 16, (4, 4, 4, 4), 1, False, (16, 3), (32, 2))
"""A third of the toy's work, for pictures whose sizes the tests do not choose."""


def toy_checkpoint(path: Path, seed: int = 0) -> Path:
    """Write the toy checkpoint (7 MB, most of it the token table)."""
    write(path, SIZES["tiny"], seed)
    return path


def narrow_checkpoint(path: Path, seed: int = 0) -> Path:
    """Write one that draws large pictures in less time."""
    write(path, NARROWEST, seed)
    return path


def pack_toy(path: Path, **about: Any) -> Path:
    """Pack a toy checkpoint in its place, as the built-in model is: in 8 bits, with what the file says of itself."""
    weights = read_tensors(path)
    weights[TABLE_L] = weights[TABLE_G][:, : weights[TABLE_L].shape[1]].clone()
    path.unlink()  # it may be a link to a file of others
    pack(weights, path, about)
    return path


def toy_params(**changes) -> GenerateParams:
    """A request for one small picture in few steps; `changes` are members of the request."""
    small = {
        "prompt": "a red cat",
        "aspect_ratios_selection": "128×96",
        "overwrite_step": 3,
        "image_seed": 7,
        "image_number": 1,
        "style_selections": [],
        "loras": [],
        "save_name": None,
        "input_image_checkbox": True,
        "invert_mask_checkbox": False,
        "inpaint_advanced_masking_checkbox": False,
    }
    return GenerateParams.from_dict({**DEFAULTS, **small, **changes})


def toy_draw(folder: Path, task_id: str = "task", checkpoint: Path | None = None, inputs: str = "", **changes) -> Draw:
    """A command to draw a small request into `folder`."""
    params = toy_params(**changes)
    outputs = [str(folder / f"{task_id}-{n}.{params.output_format}") for n in range(most_pictures(params))]
    return Draw(task_id, params.to_dict(), outputs, str(checkpoint) if checkpoint else None, inputs=inputs)
