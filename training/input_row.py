"""A row of pictures that begin with a picture: vary, inpaint, outpaint, outlines and image prompt, seeds 3 to 8."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.pipeline.pipeline import Pipeline
from training.evaluate import answered
from training.sheets import contact_sheet

PROMPT = "a red apple on a wooden table"
SIZE = 1152, 896
APPLE = (0.58, 0.55), (0.27, 0.37)
"""Where the first picture's apple is: the middle and the half axes of an ellipse around it, in widths and heights."""
GIVEN = "/inputs/input0.png"


def control(kind: str) -> dict[str, Any]:
    """A request's part that has the picture followed as this kind of control image."""
    return {"controlnet_image": [{"cn_img": GIVEN, "cn_type": kind, "cn_weight": 1.0, "cn_stop": 0.9}]}


WISHES: dict[str, dict[str, Any]] = {
    PROMPT: {"prompt": PROMPT},
    "Vary (Strong)": {"prompt": PROMPT, "uov_input_image": GIVEN, "uov_method": "Vary (Strong)"},
    "inpaint: a yellow sunflower": {
        "prompt": "a yellow sunflower",
        "inpaint_input_image": GIVEN,
        "inpaint_mask_image_upload": "/inputs/mask.png",
    },
    "outpaint: left and right, no words": {
        "prompt": "",
        "inpaint_input_image": GIVEN,
        "outpaint_selections": ["Left", "Right"],
    },
    "outlines: a blue ball in the snow": {"prompt": "a blue ball in the snow"} | control("PyraCanny"),
    "image prompt, no words": {"prompt": ""} | control("ImagePrompt"),
}


def input_row(checkpoint: Path, folder: Path, device: str, sheet: Path) -> None:
    """Draw the row with the engine; pictures and mask lie in the folder."""
    pipeline = Pipeline(device, builtin=checkpoint)
    Image.fromarray(around_apple()).save(folder / "mask.png")
    drawn = [
        answered(pipeline, folder, f"input{n}", {"image_seed": 3 + n, **wish}, SIZE)
        for n, wish in enumerate(WISHES.values())
    ]
    contact_sheet([fitted(picture) for picture in drawn], list(WISHES), len(drawn), 320, sheet)


def around_apple() -> np.ndarray:
    """The mask of what is inpainted, uint8 of the row's size, as a brush would paint the apple over."""
    width, height = SIZE
    y, x = np.ogrid[:height, :width]
    (x0, y0), (a, b) = APPLE
    inside = ((x / width - x0) / a) ** 2 + ((y / height - y0) / b) ** 2 <= 1
    return inside.astype(np.uint8) * 255


def fitted(picture: np.ndarray) -> np.ndarray:
    """A picture of any shape in a white frame of the row's."""
    frame, (width, height) = Image.new("RGB", SIZE, "white"), SIZE
    share = min(width / picture.shape[1], height / picture.shape[0])
    inner = Image.fromarray(picture).resize(
        (round(picture.shape[1] * share), round(picture.shape[0] * share)), Image.Resampling.LANCZOS
    )
    frame.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return np.asarray(frame)
