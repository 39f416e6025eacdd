"""How much of a text encoder's room a prompt takes: its tokens, and the chunks of 75 that they fill. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.prompt.embedding_files import find_in, places_below, vector_count
from engine.prompt.lines import prompt_lines
from engine.prompt.lora_tags import take_tags
from engine.prompt.tokens import CHUNK, PAD_L, Lookup, Tokenizer
from engine.prompt.wildcards import with_array_items

ROOM = CHUNK - 2
"""Tokens of a chunk besides the two that begin and end it."""
SDXL: Mapping[str, int] = {"clip_l": 768, "clip_g": 1280}
"""How wide the vectors are that SDXL's two text encoders take."""


@dataclass(frozen=True)
class PromptSize:
    """What a prompt comes to: its tokens, and the chunks that are encoded and read by the UNet one after the other."""

    tokens: int
    chunks: int


def prompt_size(prompt: str, folders: Sequence[Path], widths: Mapping[str, int] = SDXL) -> PromptSize:
    """The size of a prompt as its first picture's texts are encoded, without styles and expansion.

    Each line fills chunks of its own. Tags of LoRAs count for nothing, an array for its first item, an embedding out
    of these folders for the vectors of its file, a wildcard for its name. Where the two encoders, whose `widths` are
    given, read a file differently, the longer one counts.
    """
    lines = prompt_lines(prompt)
    lines[0] = with_array_items(take_tags(lines[0], [])[0], 0)
    tokenizer = Tokenizer()
    find = _finder(folders)
    lookups = [_lookup(find, encoder, width) for encoder, width in widths.items()]
    tokens = (sum(_tokens(tokenizer, line, lookup) for line in lines) for lookup in lookups)
    chunks = (max(len(tokenizer.chunks(line, PAD_L, lookup)) for lookup in lookups) for line in lines)
    return PromptSize(max(tokens), sum(chunks))


def _tokens(tokenizer: Tokenizer, line: str, lookup: Lookup) -> int:
    return sum(len(group) for group, _ in tokenizer.groups(line, lookup))


def _finder(folders: Sequence[Path]) -> Callable[[str], Path | None]:
    """Finds embeddings' files; lists the folders once and looks for each name once, however often it is asked."""

    @cache
    def places() -> list[Path]:
        return list(places_below(folders))

    return cache(lambda name: find_in(places(), name))


def _lookup(find: Callable[[str], Path | None], encoder: str, width: int) -> Lookup:
    """Nothing in the place of each vector that an embedding has for this encoder."""

    def lookup(name: str) -> list[None] | None:
        path = find(name)
        return None if path is None else [None] * vector_count(path, encoder, width)

    return lookup
