"""The model files of an installation: what there is, and where a name lies. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from engine.names import BUILTIN_CHECKPOINT

MODEL_SUFFIXES = (".pth", ".ckpt", ".bin", ".safetensors")
BUILTIN = Path(__file__).parents[1] / "builtin" / BUILTIN_CHECKPOINT


class Catalogue:
    """The files of a `models` folder laid out like Fooocus's, as they lie there at each call.

    Names are paths relative to their kind's folder, with `/` between the parts.
    """

    def __init__(self, models: Path, builtin: Path = BUILTIN) -> None:
        self.models, self.builtin = models, builtin

    def checkpoints(self) -> list[str]:
        """The checkpoints' names, the built-in model last."""
        names = self._names("checkpoints")
        if self.builtin.is_file() and BUILTIN_CHECKPOINT not in names:
            names.append(BUILTIN_CHECKPOINT)
        return names

    def loras(self) -> list[str]:
        """The LoRAs' names."""
        return self._names("loras")

    def vaes(self) -> list[str]:
        """The names of VAEs that can stand in for a checkpoint's own."""
        return self._names("vae")

    def find_checkpoint(self, name: str) -> Path | None:
        """Where the checkpoint of this name lies, or None."""
        found = self._find("checkpoints", name)
        if found is None and name == BUILTIN_CHECKPOINT and self.builtin.is_file():
            return self.builtin
        return found

    def find_lora(self, name: str) -> Path | None:
        """Where the LoRA of this name lies, or None."""
        return self._find("loras", name)

    def find_vae(self, name: str) -> Path | None:
        """Where the VAE of this name lies, or None."""
        return self._find("vae", name)

    def _names(self, kind: str) -> list[str]:
        folder = self.models / kind
        return [path.relative_to(folder).as_posix() for path in model_files(folder)]

    def _find(self, kind: str, name: str) -> Path | None:
        if not stays_inside(name):
            return None
        path = self.models / kind / name.replace("\\", "/")
        return path if path.is_file() and is_model_file(path) else None


def model_files(folder: Path) -> Iterator[Path]:
    """Every model file below a folder: sub-folders first, each sorted without case; linked folders left out."""
    if not folder.is_dir():
        return
    entries = sorted(folder.iterdir(), key=lambda entry: (entry.name.casefold(), entry.name))
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            yield from model_files(entry)
    for entry in entries:
        if entry.is_file() and is_model_file(entry):
            yield entry


def is_model_file(path: Path) -> bool:
    """Whether a file's suffix is one that models have."""
    return path.suffix.casefold() in MODEL_SUFFIXES


def stays_inside(name: str) -> bool:
    """Whether a relative name cannot lead out of its folder, whatever system reads it."""
    windows = PureWindowsPath(name)
    parts = PurePosixPath(name.replace("\\", "/")).parts
    outside = windows.drive or windows.root or name.startswith("/") or ".." in parts
    return bool(name) and not outside and "\0" not in name
