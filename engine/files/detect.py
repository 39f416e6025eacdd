"""What a checkpoint is, by the names of its tensors alone. No torch, and no tensor is read."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

UNET = "model.diffusion_model."
SIZES_AND_POOLED_TEXT = f"{UNET}label_emb.0.0.weight"
"""Every UNet of the SDXL family has it, and none of Stable Diffusion 1.x."""


def is_sd15(path: Path) -> bool:
    """Whether the file is a checkpoint of Stable Diffusion 1.x; False where it is no safetensors file."""
    if path.suffix.casefold() != ".safetensors":
        return False
    try:
        with safe_open(path, framework="np") as file:
            names = file.keys()
    except (SafetensorError, OSError):
        return False
    return SIZES_AND_POOLED_TEXT not in names and any(name.startswith(UNET) for name in names)
