"""Textual inversions: files whose vectors take the places of tokens, called by `embedding:name` in a prompt."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import CheckpointError
from engine.files import detect, torch_files
from engine.files.catalogue import stays_inside
from engine.files.identity import Identity, identity

log = logging.getLogger(__name__)

SUFFIXES = (".safetensors", ".pt", ".bin")
MOST_KEPT_FILES = 64


class Embeddings:
    """The embeddings of these folders and everything below them, as they lie there at each call."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._contents: OrderedDict[Identity, Any] = OrderedDict()

    def find(self, name: str) -> Path | None:
        """The file of this name, with or without its suffix, in the first folder that has one.

        A name may lead into sub-folders, whose files are found without it too; one that leads out finds nothing.
        """
        name = name.replace("\\", "/")
        if not stays_inside(name):
            return None
        names = [name + suffix for suffix in ("", *SUFFIXES) if (name + suffix).lower().endswith(SUFFIXES)]
        names = [each for each in names if stays_inside(each)]
        places = (place / each for folder in self.folders for place in _folders_below(folder) for each in names)
        return next((path for path in places if path.is_file()), None)

    def vectors(self, path: Path, encoder: str, width: int) -> Tensor:
        """What the file has for an encoder (`clip_l` or `clip_g`) of this width: fp32 `[tokens, width]` on the CPU.

        Raises:
            CheckpointError: the file is unreadable, or has nothing of this width.
        """
        found = vectors_in(self._content(path), encoder, width)
        if not len(found):
            raise CheckpointError(f"The embedding {path.name} has no vectors {width} wide, as {encoder} reads them")
        return found

    def _content(self, path: Path) -> Any:
        key = identity(path)
        if key not in self._contents:
            self._contents[key] = _read(path)
            if len(self._contents) > MOST_KEPT_FILES:
                self._contents.popitem(last=False)
        self._contents.move_to_end(key)
        return self._contents[key]


def vectors_in(content: Any, encoder: str, width: int) -> Tensor:
    """The vectors for an encoder in a file of any known layout, `[tokens, width]`; none if their width is another.

    Layouts: `string_to_param` (its first value), a list of dictionaries (every tensor of this width), tensors under
    the encoders' names (SDXL), else the first tensor.
    """
    nested = content.get("string_to_param") if isinstance(content, Mapping) else None
    if isinstance(nested, Mapping):
        tensors = _tensors(nested)[:1]
    elif isinstance(content, Sequence):
        tensors = [tensor for part in content if isinstance(part, Mapping) for tensor in _tensors(part)]
    elif isinstance(content, Mapping) and isinstance(content.get(encoder), Tensor):
        tensors = [content[encoder]]
    else:
        tensors = _tensors(content)[:1] if isinstance(content, Mapping) else []
    fitting = [tensor.reshape(-1, width) for tensor in tensors if tensor.dim() and tensor.shape[-1] == width]
    return torch.cat(fitting).detach().float() if fitting else torch.empty(0, width)


def _tensors(part: Mapping[Any, Any]) -> list[Tensor]:
    return [value for value in part.values() if isinstance(value, Tensor)]


def _read(path: Path) -> Any:
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        content = torch_files.load(path)
    except Exception as error:  # readers of broken files fail in every way there is
        log.info("%s cannot be read", path, exc_info=error)
        reason = (detect.unusable(path) if path.is_file() else None) or "damaged; fetch it again"
        raise CheckpointError(f"The embedding {path.name} is not readable: it is {reason}") from error
    parts = content if isinstance(content, list) else [content]
    if not any(isinstance(part, Mapping) for part in parts):
        raise CheckpointError(f"The embedding {path.name} is not readable: it holds no tensors")
    return content


def _folders_below(folder: Path) -> Iterator[Path]:
    """The folder, then all below it in order; links are followed, each folder visited once."""
    visited = set()
    for place, below, _ in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:
            below.clear()
            continue
        visited.add(real)
        below.sort()
        yield Path(place)
