"""A models folder for all that looks at pictures: small models in the authors' formats, beside a toy checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.engine.detectors import caption_files, mask_files, onnx_files
from tests.toy import toy_checkpoint

TAGS = "tag_id,name,category,count\n1,blue_sky,0,1\n2,green_(colour),0,1\n3,red_hair,0,1\n"


def tool_models(folder: Path) -> Path:
    """Write them: mask models that find what is red, a tagger, a captioner, and a toy checkpoint."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    toy_checkpoint(folder / "checkpoints" / "toy.safetensors")
    for name in ("u2netp", "isnet-general-use"):
        onnx_files.segmenter(folder / "inpaint" / f"{name}.onnx", np.array([[1.0, -1.0, 0.0]]))
    mask_files.write_sam(folder / "sam" / "sam_vit_b_01ec64.pth")
    mask_files.write_grounding_dino(folder / "inpaint" / "groundingdino_swint_ogc.pth")
    more_than_red = np.array([[1, 0, 0], [0, 1, 0], [-1, -1, 1]]) / 255  # blue first
    onnx_files.tagger(folder / "clip_vision" / "wd-v1-4-moat-tagger-v2.onnx", more_than_red)
    (folder / "clip_vision" / "wd-v1-4-moat-tagger-v2.csv").write_text(TAGS)
    caption_files.write_captioner(folder / "clip_vision" / "model_base_caption_capfilt_large.pth")
    return folder
