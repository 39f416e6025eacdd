"""What `benchmarks.small_cards` draws: kinds of request, the model files that they need, and a mixture of all."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.gpu import DEFAULTS
from benchmarks.make_checkpoint import Size
from benchmarks.parity_models import BASE, LORAS, SECOND, write_models
from benchmarks.parity_pictures import write_pictures
from engine import required_files
from tests.engine.detectors import onnx_files

MASK_MODEL = "u2netp"
STEP = DEFAULTS["enhance_ctrls"][0] | {
    "enhance_enabled": True,
    "enhance_mask_model": MASK_MODEL,
    "enhance_prompt": "a red sail",
}
INPAINT = {"inpaint_input_image": "scene.png", "inpaint_mask_image_upload": "mask.png"}

FEW: dict[str, dict[str, Any]] = {
    "cold": {},
    "warm": {},
    "another prompt": {"prompt": "a harbour in the morning fog"},
}
ALL: dict[str, dict[str, Any]] = FEW | {
    "four pictures, each": {"image_number": 4},
    "a LoRA": {"loras": [{"enabled": True, "model_name": LORAS[0], "weight": 0.5}]},
    "without it again": {},
    "vary": {"uov_method": "Vary (Subtle)", "uov_input_image": "scene.png"},
    "upscale 2x": {"uov_method": "Upscale (2x)", "uov_input_image": "small.png"},
    "inpaint v2.6": INPAINT,
    "PyraCanny": {
        "controlnet_image": [{"cn_img": "guide.png", "cn_stop": 0.5, "cn_weight": 1.0, "cn_type": "PyraCanny"}],
    },
    "two image prompts": {
        "controlnet_image": [
            {"cn_img": picture, "cn_stop": 0.5, "cn_weight": 0.6, "cn_type": "ImagePrompt"}
            for picture in ("guide.png", "scene.png")
        ]
    },
    "enhance": {"enhance_checkbox": True, "enhance_uov_method": "Vary (Subtle)", "enhance_ctrls": [STEP]},
    "refiner": {"refiner_model_name": SECOND},
    "at last": {},
}
"""By their titles: what a request has in place of the defaults. A second checkpoint comes last: it fills memory."""

CHECKPOINTS = (f"checkpoints/{BASE}", f"checkpoints/{SECOND}")
PLACES = {
    "few": CHECKPOINTS[:1],
    "all": (
        *CHECKPOINTS,
        f"clip_vision/{required_files.CLIP_VISION}",
        f"inpaint/{required_files.INPAINT_PATCHES['v2.6']}",
        f"controlnet/{required_files.IMAGE_PROMPT}",
        f"controlnet/{required_files.CANNY}",
        f"controlnet/{required_files.IMAGE_PROMPT_NEGATIVE}",
        f"inpaint/{required_files.INPAINT_HEAD}",
        f"upscale_models/{required_files.UPSCALER}",
        f"loras/{LORAS[0]}",
    ),
}
"""The model files that the cases need, by their places below a models folder, the largest first."""
OF_KIND = {
    "a LoRA": (f"loras/{LORAS[0]}",),
    "upscale 2x": (f"upscale_models/{required_files.UPSCALER}",),
    "inpaint v2.6": (f"inpaint/{required_files.INPAINT_PATCHES['v2.6']}", f"inpaint/{required_files.INPAINT_HEAD}"),
    "PyraCanny": (f"controlnet/{required_files.CANNY}",),
    "two image prompts": (
        f"clip_vision/{required_files.CLIP_VISION}",
        f"controlnet/{required_files.IMAGE_PROMPT}",
        f"controlnet/{required_files.IMAGE_PROMPT_NEGATIVE}",
    ),
    "enhance": (f"inpaint/{required_files.INPAINT_PATCHES['v2.6']}", f"inpaint/{required_files.INPAINT_HEAD}"),
    "refiner": CHECKPOINTS[1:],
}
"""What each kind reads beside the checkpoint."""
SIZES = ("1152×896", "896×1152", "1024×1024", "1344×768")
FULL_WIDTH, PICTURES_SHRINK = 320, 8
"""Of SDXL's UNet; for a smaller one pictures are so many times smaller too."""


def prepare(folder: Path, size: Size, which: str) -> None:
    """Write the pictures and whatever model files are missing of those that few or all cases need."""
    write_pictures(folder / "pictures")
    if size.widths[0] < FULL_WIDTH:
        for path in (folder / "pictures").iterdir():
            with Image.open(path) as picture:
                picture.reduce(PICTURES_SHRINK).save(path)
    if which == "all":
        onnx_files.segmenter(folder / "inpaint" / f"{MASK_MODEL}.onnx", np.array([[1.0, -1.0, 0.0]]))
    missing: Iterable[str] = [place for place in PLACES[which] if not (folder / place).is_file()]
    write_models(folder, size, processes=6, places=missing)


def files_of(title: str, folder: Path) -> set[Path]:
    """The model files that a request of this kind reads, also one of a mixture."""
    kind = re.sub(r"^\d+, ", "", title)
    return {folder / place for place in (*CHECKPOINTS[:1], *OF_KIND.get(kind, ()))}


def mixture(count: int, sizes: Iterable[str] = SIZES) -> Iterator[tuple[str, dict[str, Any]]]:
    """So many requests of all kinds in turn, each with a title, a prompt, a seed and a size of its own."""
    kinds = itertools.islice(itertools.cycle(ALL.items()), count)
    for number, ((title, changes), size) in enumerate(zip(kinds, itertools.cycle(sizes), strict=False), 1):
        own = {"prompt": f"a harbour with {number} boats", "image_seed": number, "aspect_ratios_selection": size}
        yield f"{number}, {title}", own | changes
