"""From a text to CLIP's tokens, in chunks of 77 with a weight for each."""

from __future__ import annotations

import gzip
import logging
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tokenizers import Regex
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

from engine.prompt.emphasis import weighted

log = logging.getLogger(__name__)

VOCABULARY = Path(__file__).parent / "data" / "bpe_simple_vocab_16e6.txt.gz"
MERGES = 49152 - 256 - 2
START_TEXT, END_TEXT = "<|startoftext|>", "<|endoftext|>"
START, END = 49406, 49407
PAD_L, PAD_G = END, 0
CHUNK = 77
LARGE_GROUP = 8
EMBEDDING = "embedding:"

# OpenAI CLIP's own pattern; marks of a special token are handled before it.
WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

CJK_BLOCKS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


@dataclass(frozen=True)
class Chunk:
    """77 token ids, from start to padding, and their weights."""

    ids: list[int]
    weights: list[float]


Group = tuple[list[int], float]
"""The tokens of one word, and their weight."""


@lru_cache(maxsize=1)
def _library_tokenizer() -> LibraryTokenizer:
    """CLIP's byte pair encoding without its normalisation, which `_plain` does."""
    lines = gzip.decompress(VOCABULARY.read_bytes()).decode("utf-8").split("\n")
    merges = [(left, right) for left, right in map(str.split, lines[1 : MERGES + 1])]
    characters = list(_byte_characters())
    pieces = [*characters, *(f"{c}</w>" for c in characters), *(left + right for left, right in merges)]
    ids = {piece: place for place, piece in enumerate([*pieces, START_TEXT, END_TEXT])}
    tokenizer = LibraryTokenizer(BPE(ids, merges, end_of_word_suffix="</w>", fuse_unk=False))
    tokenizer.pre_tokenizer = Sequence(
        [Split(Regex(WORD), behavior="removed", invert=True), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.add_special_tokens([START_TEXT, END_TEXT])
    return tokenizer


def _byte_characters() -> Iterator[str]:
    """The 256 printable stand-ins for bytes in the order of CLIP's vocabulary: printable bytes first."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    yield from map(chr, printable)
    yield from (chr(0x100 + place) for place in range(256 - len(printable)))


def _plain(text: str) -> str:
    """The text in lower case and composed form, without control characters, with CJK characters apart."""
    kept = []
    for character in text:
        code = ord(character)
        category = unicodedata.category(character)
        if character in "\t\n\r" or category == "Zs":
            kept.append(" ")
        elif category.startswith("C") or code == 0xFFFD:
            continue
        elif any(first <= code <= last for first, last in CJK_BLOCKS):
            kept.append(f" {character} ")
        else:
            kept.append(character)
    return " ".join(word.lower() for word in unicodedata.normalize("NFC", "".join(kept)).split())


class Tokenizer:
    """CLIP's tokenizer with emphasis, as both text encoders of SDXL read a prompt."""

    def __init__(self) -> None:
        self._library = _library_tokenizer()

    def chunks(self, text: str, pad: int) -> list[Chunk]:
        """The text as chunks of 77 tokens, at least one, filled up with `pad` (`PAD_L` or `PAD_G`)."""
        full: list[Chunk] = []
        ids, weights = [START], [1.0]
        for group, weight in self.groups(text):
            cut_anywhere = len(group) >= LARGE_GROUP
            while group:
                room = CHUNK - 1 - len(ids)
                taken = group if len(group) <= room else group[:room] if cut_anywhere else []
                ids += taken
                weights += [weight] * len(taken)
                group = group[len(taken) :]
                if group:
                    full.append(_filled(ids, weights, pad))
                    ids, weights = [START], [1.0]
        return [*full, _filled(ids, weights, pad)]

    def groups(self, text: str) -> list[Group]:
        """The text's words as tokens with their weight."""
        groups = []
        for leaf, weight in weighted(text):
            for word in leaf.replace("\n", " ").split(" "):
                ids = self._ids(self._without_embedding(word))
                if ids:
                    groups.append((ids, weight))
        return groups

    def unknown_embeddings(self, text: str) -> list[str]:
        """The `embedding:` names of the text that are ignored because no such embedding is known."""
        words = (word for leaf, _ in weighted(text) for word in leaf.replace("\n", " ").split(" "))
        return [word.removeprefix(EMBEDDING).strip(",") for word in words if word.startswith(EMBEDDING)]

    def _without_embedding(self, word: str) -> str:
        """The word itself, or what an `embedding:` word that nobody knows leaves: the commas behind its name."""
        if not word.startswith(EMBEDDING):
            return word
        name = word.removeprefix(EMBEDDING)
        log.warning("embedding %s is not known and is ignored", name.strip(","))
        return name[len(name.rstrip(",")) :]

    def _ids(self, word: str) -> list[int]:
        """The tokens of one word."""
        return self._library.encode(_plain(word), add_special_tokens=False).ids


def _filled(ids: list[int], weights: list[float], pad: int) -> Chunk:
    """The chunk of these tokens: the end token behind them, then `pad` up to 77."""
    padding = CHUNK - 1 - len(ids)
    return Chunk([*ids, END, *[pad] * padding], [*weights, *[1.0] * (padding + 1)])
