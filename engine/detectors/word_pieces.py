"""BERT's word pieces, uncased: the vocabulary of models that read or write sentences about pictures."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

from tokenizers import BertWordPieceTokenizer

VOCABULARY = Path(__file__).parent / "data" / "bert_uncased_vocab.txt.gz"
PAD, START, END = 0, 101, 102


@cache
def tokenizer() -> BertWordPieceTokenizer:
    """The tokenizer; `encode(text).ids` begins with `START` and ends with `END`."""
    words = gzip.decompress(VOCABULARY.read_bytes()).decode().splitlines()
    return BertWordPieceTokenizer({word: number for number, word in enumerate(words)}, lowercase=True)
