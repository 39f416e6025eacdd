"""The inpaint patch: weights by which a base model repaints, on it for as long as it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.adapters.lora_merge import Patch, PatchedModel
from engine.sampling.attachments import Evaluation, Residuals
from engine.sampling.unet import UNet


class InpaintPatch:
    """An attachment: the patch in `path` over a model's other patches, in force from the start; taken off and put on
    again with the attachment, in place."""

    def __init__(self, model: PatchedModel, others: Sequence[Patch], path: Path) -> None:
        self.model, self.others = model, list(others)
        self.patches = [*others, Patch(path, 1.0, unet_only=True)]
        self.notes = model.apply(self.patches)

    @contextmanager
    def attached(self, unet: UNet) -> Iterator[None]:
        """Have it in force for the length of the block."""
        self.model.apply(self.patches)
        try:
            yield
        finally:
            self.model.apply(self.others)

    def state(self, evaluation: Evaluation) -> None:
        """Every evaluation is treated alike."""

    def residuals(self, evaluation: Evaluation) -> Residuals | None:
        """Nothing is added to the skips."""
        return None
