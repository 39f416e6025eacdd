"""Textual inversions: files whose vectors take the places of tokens, called by `embedding:name` in a prompt."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import CheckpointError
from engine.files import detect, torch_files
from engine.files.identity import Identity, identity
from engine.prompt.embedding_files import find_embedding, parts_for

log = logging.getLogger(__name__)

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
        return find_embedding(self.folders, name)

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
    """The vectors for an encoder in a file's content, `[tokens, width]`; none if their width is another."""
    tensors = parts_for(content, encoder, Tensor)
    fitting = [tensor.reshape(-1, width) for tensor in tensors if tensor.dim() and tensor.shape[-1] == width]
    return torch.cat(fitting).detach().float() if fitting else torch.empty(0, width)


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
