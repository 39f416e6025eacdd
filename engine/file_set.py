"""The files that a base model is used with, and what follows from them. No torch.

`engine.files.file_sets` has the implementations: `Installed` for a checkpoint, `Shipped` for the built-in model, and
`InstalledForFooocus` where a Fooocus draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from engine.choices import Performance
from engine.modes import Modes
from engine.params import GenerateParams
from engine.required_files import Need


class FileSet(Protocol):
    """The files of one base model.

    Methods that return a path raise `CheckpointError` where a models folder lacks the file.
    """

    @property
    def checkpoint(self) -> Path:
        """The base model itself."""
        ...

    @property
    def takes_sdxl_files(self) -> bool:
        """Whether LoRAs, refiners and embeddings that were trained for SDXL fit the base model."""
        ...

    @property
    def detects_faces(self) -> bool:
        """Whether FaceSwap reads a face cut out of the control image, not the whole image."""
        ...

    def checkpoint_name(self, requested: str) -> str:
        """The base model's name as requests spell it, for a request that names `requested`."""
        ...

    def control_kinds(self) -> Sequence[str]:
        """The kinds of control image that there are files for, or that files can be added for."""
        ...

    def needs(self, params: GenerateParams) -> list[Need]:
        """The files that a request needs in the models folders besides its checkpoint, each once."""
        ...

    def performance(self, mode: Performance) -> Performance:
        """A performance mode with the LoRA, sampler and scheduler that it uses here."""
        ...

    def notes(self, mode: Performance, modes: Modes) -> list[str]:
        """Remarks for the client on what this set does otherwise than the request says."""
        ...

    def inpaint_engine(self, requested: str) -> str:
        """The inpaint engine in force, `None` where there are no files for one."""
        ...

    def inpaint_notes(self, requested: str) -> list[str]:
        """Remarks for the client on the inpaint engine that replaces the requested one."""
        ...

    def performance_lora(self, name: str) -> Path:
        """The LoRA of a performance mode that `performance` returned."""
        ...

    def upscaler(self) -> Path:
        """The network that enlarges pictures."""
        ...

    def inpaint_head(self) -> Path:
        """The network that encodes mask and grey picture for a UNet with an inpaint patch."""
        ...

    def inpaint_patch(self, engine: str) -> Path:
        """The patch of an inpaint engine for the UNet."""
        ...

    def control_net(self, kind: str) -> Path:
        """The control net for a kind of control image."""
        ...

    def image_prompt_adapter(self, kind: str) -> tuple[Path, Path]:
        """The adapter for a kind of image prompt, and the embedding of no picture that goes with it."""
        ...

    def clip_vision(self) -> Path:
        """The encoder of image prompts."""
        ...

    def preview_network(self, name: str) -> Path | None:
        """The network that decodes previews, or None: previews then use a map fitted to the VAE."""
        ...
