"""From a text to CLIP's tokens, in chunks of 77 with a weight for each."""

from __future__ import annotations

import gzip
import unicodedata
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Regex
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

from engine.prompt.emphasis import weighted

VOCABULARY = Path(__file__).parent / "data" / "bpe_simple_vocab_16e6.txt.gz"
MERGES = 49152 - 256 - 2
START_TEXT, END_TEXT = "<|startoftext|>", "<|endoftext|>"
START, END = 49406, 49407
PAD_L, PAD_G = END, 0
STAND_IN = 0
"""The id at places that hold a vector: any but the end token's, where the pooled vector is taken."""
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


Vector = Any
"""One token's place in an embedding: a tensor `[width]`, which this module only passes on."""
Token = int | Vector
Lookup = Callable[[str], SequenceOf[Vector] | None]
"""Gives the vectors of the embedding of this name: None if there is no such embedding, empty if none of it fits."""


@dataclass(frozen=True)
class Chunk:
    """77 token ids, from start to padding, and their weights; `vectors` by place stand in for what the ids mean."""

    ids: list[int]
    weights: list[float]
    vectors: dict[int, Vector] = field(default_factory=dict)


Group = tuple[list[Token], float]
"""The tokens of one word, and their weight."""


def no_embeddings(name: str) -> None:
    """The lookup that knows no embedding."""


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
    """CLIP's tokenizer with emphasis and embeddings, as both text encoders of SDXL read a prompt."""

    def __init__(self) -> None:
        self._library = _library_tokenizer()

    def chunks(self, text: str, pad: int, lookup: Lookup = no_embeddings) -> list[Chunk]:
        """The text as chunks of 77 tokens, at least one, filled up with `pad` (`PAD_L` or `PAD_G`)."""
        full: list[Chunk] = []
        tokens: list[Token] = [START]
        weights = [1.0]
        for group, weight in self.groups(text, lookup):
            cut_anywhere = len(group) >= LARGE_GROUP
            while group:
                room = CHUNK - 1 - len(tokens)
                taken = group if len(group) <= room else group[:room] if cut_anywhere else []
                tokens += taken
                weights += [weight] * len(taken)
                group = group[len(taken) :]
                if group:
                    full.append(_filled(tokens, weights, pad))
                    tokens, weights = [START], [1.0]
        return [*full, _filled(tokens, weights, pad)]

    def groups(self, text: str, lookup: Lookup = no_embeddings) -> list[Group]:
        """The text's words as tokens with their weight; an embedding is a group of its own."""
        return [(tokens, weight) for word, weight in _words(text) for tokens in self._tokens(word, lookup) if tokens]

    def _tokens(self, word: str, lookup: Lookup) -> Iterator[list[Token]]:
        """The tokens of a word; of an `embedding:` word its vectors, then the commas behind its name."""
        if not word.startswith(EMBEDDING):
            yield self._ids(word)
            return
        name = word.removeprefix(EMBEDDING)
        vectors, rest = lookup(name), ""
        if vectors is None:
            vectors, rest = lookup(bare_name(name)), name[len(name.rstrip(",")) :]
        yield list(vectors or ())
        yield self._ids(rest)

    def _ids(self, word: str) -> list[Token]:
        """The tokens of one word."""
        return list(self._library.encode(_plain(word), add_special_tokens=False).ids)


def embedding_names(text: str) -> list[str]:
    """The names behind `embedding:` in a text, with whatever commas cling to them."""
    return [word.removeprefix(EMBEDDING) for word, _ in _words(text) if word.startswith(EMBEDDING)]


def bare_name(name: str) -> str:
    """An embedding's name without the commas that belong to the sentence around it."""
    return name.strip(",")


def empty_chunk(pad: int) -> Chunk:
    """The chunk of a text without words."""
    return _filled([START], [1.0], pad)


def _words(text: str) -> Iterator[tuple[str, float]]:
    for leaf, weight in weighted(text):
        for word in leaf.replace("\n", " ").split(" "):
            yield word, weight


def _filled(tokens: list[Token], weights: list[float], pad: int) -> Chunk:
    """The chunk of these tokens: the end token behind them, then `pad` up to 77."""
    padding = CHUNK - 1 - len(tokens)
    vectors = {place: token for place, token in enumerate(tokens) if not isinstance(token, int)}
    ids = [STAND_IN if place in vectors else token for place, token in enumerate(tokens)]
    return Chunk([*ids, END, *[pad] * padding], [*weights, *[1.0] * (padding + 1)], vectors)
