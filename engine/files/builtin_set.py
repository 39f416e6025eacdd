"""The files shipped with the project, and what the built-in model does with them. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from engine.choices import BUILTIN_CHECKPOINT

FOLDER = Path(__file__).parents[1] / "builtin"
CHECKPOINT = FOLDER / BUILTIN_CHECKPOINT
UPSCALER = FOLDER / "upscaler_mini.safetensors"
IMAGE_ENCODER = FOLDER / "image_encoder_mini.safetensors"
TAG_HEAD = FOLDER / "tag_head_mini.safetensors"
IMAGE_PROMPT = FOLDER / "image_prompt_mini.safetensors"
IMAGE_PROMPT_NEGATIVE = FOLDER / "image_prompt_negative_mini.safetensors"
CANNY = FOLDER / "canny_mini.safetensors"
INPAINT_HEAD = FOLDER / "inpaint_head_mini.safetensors"
INPAINT_PATCH = FOLDER / "inpaint_patch_mini.safetensors"
FEW_STEP = FOLDER / "few_step_mini.safetensors"
"""The LoRA of all fast modes: latent consistency, for the sampler `lcm` without guidance."""

DESCRIBING = (IMAGE_ENCODER, TAG_HEAD)
"""What describes pictures where there is no file of a captioner or tagger."""
_PICTURES = (IMAGE_ENCODER, IMAGE_PROMPT, IMAGE_PROMPT_NEGATIVE)
CONTROL: Mapping[str, tuple[Path, ...]] = MappingProxyType(
    {"ImagePrompt": _PICTURES, "FaceSwap": _PICTURES, "PyraCanny": (CANNY,), "CPDS": (CANNY,)}
)
"""What the built-in model reads each kind of control image with; one branch reads outlines and structure alike."""


def drawn_with(checkpoint: object | None) -> bool:
    """Whether the built-in model draws a task of this checkpoint.

    It does where no path is given. Its files fit no other UNet, and no other's files fit it; only the upscaler, which
    sees pixels, goes with any.
    """
    return checkpoint is None


def there(*paths: Path) -> bool:
    """Whether all of these lie in the installation."""
    return all(path.is_file() for path in paths)


def control_kinds() -> list[str]:
    """The kinds of control image that the built-in model can read."""
    return [kind for kind, paths in CONTROL.items() if there(*paths)]


def inpaints() -> bool:
    """Whether the built-in model has an inpaint head and the patch that reads it; they stand in for every engine."""
    return there(INPAINT_HEAD, INPAINT_PATCH)
