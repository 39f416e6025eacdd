"""Token ids of captions: OpenAI CLIP's byte-pair vocabulary, one cached merge walk per word."""

import gzip
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

VOCABULARY = Path(__file__).parent.parent / "engine/prompt/data/bpe_simple_vocab_16e6.txt.gz"
START, END, LENGTH = 49406, 49407, 77
WORDS = re.compile(r"[a-z]+|[0-9]|[^\sa-z0-9]+")


@cache
def vocabulary() -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """Token string -> id, and merge pair -> rank; the layout CLIP was published with."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in printable]
    letters = [chr(b) for b in printable] + [chr(256 + n) for n in range(len(hidden))]
    lines = gzip.decompress(VOCABULARY.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [tuple(line.split()) for line in lines]
    strings = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges]
    return {s: i for i, s in enumerate(strings)}, {pair: rank for rank, pair in enumerate(merges)}


@cache
def word_ids(word: str) -> tuple[int, ...]:
    """Ids of one lower-case ASCII word."""
    ids, ranks = vocabulary()
    parts = [*word[:-1], word[-1] + "</w>"]
    while len(parts) > 1:
        rank, at = min((ranks.get(pair, 1 << 30), i) for i, pair in enumerate(pairwise(parts)))
        if rank == 1 << 30:
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return tuple(ids[part] for part in parts)


def text_ids(text: str) -> list[int]:
    """Ids of a caption without start, end and padding; letters outside ASCII are dropped."""
    plain = text.lower().encode("ascii", "ignore").decode()
    return [i for word in WORDS.findall(plain) for i in word_ids(word)]


def row(text: str) -> np.ndarray:
    """One row of 77 ids as CLIP-L pads it (end id); CLIP-G's padding is `as_g_row`'s business."""
    ids = [START, *text_ids(text)[: LENGTH - 2], END]
    return np.array(ids + [END] * (LENGTH - len(ids)), dtype=np.uint16)
