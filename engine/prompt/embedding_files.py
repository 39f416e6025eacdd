"""Where textual inversions lie, and how many tokens each takes, by its header. No torch, no vector is read."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from engine.files import detect, pickled
from engine.files.catalogue import stays_inside
from engine.files.identity import Identity, identity

T = TypeVar("T")

SUFFIXES = (".safetensors", ".pt", ".bin")


def find_embedding(folders: Sequence[Path], name: str) -> Path | None:
    """The file of this name, with or without its suffix, in the first of these folders that has one.

    A name may lead into sub-folders, whose files are found without it too; one that leads out finds nothing.
    """
    return find_in(places_below(folders), name)


def places_below(folders: Sequence[Path]) -> Iterator[Path]:
    """Where embeddings are looked for, in this order: each folder with all below it."""
    return (place for folder in folders for place in _folders_below(folder))


def find_in(places: Iterable[Path], name: str) -> Path | None:
    """The file of this name in the first of these places, as `places_below` gives them, that has one."""
    name = name.replace("\\", "/")
    if not stays_inside(name):
        return None
    names = [name + suffix for suffix in ("", *SUFFIXES) if (name + suffix).lower().endswith(SUFFIXES)]
    names = [each for each in names if stays_inside(each)]
    return next((path for place in places for each in names if (path := place / each).is_file()), None)


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


def parts_for(content: Any, encoder: str, kind: type[T]) -> list[T]:
    """What a file of any known layout has for an encoder (`clip_l` or `clip_g`), of whatever width: tensors or shapes.

    Layouts: `string_to_param` (its first value), a list of dictionaries (every tensor), tensors under the encoders'
    names (SDXL), else the first tensor.
    """
    nested = content.get("string_to_param") if isinstance(content, Mapping) else None
    if isinstance(nested, Mapping):
        return _values(nested, kind)[:1]
    if isinstance(content, Sequence):
        return [value for part in content if isinstance(part, Mapping) for value in _values(part, kind)]
    if not isinstance(content, Mapping):
        return []
    own = content.get(encoder)
    return [own] if isinstance(own, kind) else _values(content, kind)[:1]


def vector_count(path: Path, encoder: str, width: int) -> int:
    """How many vectors the file has for an encoder of this width; 0 where it has none or cannot be read."""
    shapes = parts_for(_shapes(path, identity(path)), encoder, pickled.Shape)
    return sum(math.prod(shape) // width for shape in shapes if shape and shape[-1] == width)


@lru_cache(maxsize=64)
def _shapes(path: Path, _state: Identity) -> Any:
    """What the file holds, with shapes in the place of its tensors."""
    if path.suffix.casefold() == ".safetensors":
        return {name: pickled.Shape(shape) for name, shape in detect.shapes(path).items()}
    try:
        return pickled.content(path)
    except ValueError:
        return {}


def _values(part: Mapping[Any, Any], kind: type[T]) -> list[T]:
    return [value for value in part.values() if isinstance(value, kind)]
