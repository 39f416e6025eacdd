"""The inpaint patch: weights that are added to a base model while it inpaints."""

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
        """Apply the patch inside the block, and remove it afterwards."""
        self.model.apply(self.patches)
        try:
            yield
        finally:
            self.model.apply(self.others)

    def state(self, evaluation: Evaluation) -> None:
        """None: the patch does not depend on the evaluation."""

    def residuals(self, evaluation: Evaluation) -> Residuals | None:
        """None: the patch adds nothing to the skip connections."""
        return None
