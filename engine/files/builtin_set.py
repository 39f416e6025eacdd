"""Where the files shipped with the project lie: the built-in model and its parts. No torch."""

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
"""The LoRA of all fast modes: a latent consistency model, for the sampler `lcm` without guidance."""

DESCRIBING = (IMAGE_ENCODER, TAG_HEAD)
"""The encoder and the tags that describe pictures where no captioner or tagger is installed."""
_PICTURES = (IMAGE_ENCODER, IMAGE_PROMPT, IMAGE_PROMPT_NEGATIVE)
CONTROL: Mapping[str, tuple[Path, ...]] = MappingProxyType(
    {"ImagePrompt": _PICTURES, "FaceSwap": _PICTURES, "PyraCanny": (CANNY,), "CPDS": (CANNY,)}
)
"""The files for each kind of control image; one control net reads edges and structure alike."""


def there(*paths: Path) -> bool:
    """Whether all of these files are installed."""
    return all(path.is_file() for path in paths)


def describes() -> bool:
    """Whether the files that describe pictures are installed."""
    return there(*DESCRIBING)
