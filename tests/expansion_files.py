"""The files of a prompt expansion: a small random GPT-2 over a list of words made here."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from engine.models.expansion import CONFIG, END, MERGES, MODEL, VOCABULARY, WORDS
from engine.prompt.tokens import _byte_characters

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LISTED = [first + second for first in LETTERS[:12] for second in LETTERS[:12]]
"""144 words of two letters: more than are ever kept, more than are ever added."""


def expansion_files(folder: Path) -> Path:
    """Write the five files, with GPT-2's bytes first in the vocabulary and one token for each listed word."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = [f"Ġ {letter}" for letter in LETTERS[:12]] + [f"Ġ{word[0]} {word[1]}" for word in LISTED]
    pieces = [*_byte_characters(), *(merge.replace(" ", "") for merge in merges), END]
    (folder / VOCABULARY).write_text(json.dumps({piece: place for place, piece in enumerate(pieces)}))
    (folder / MERGES).write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (folder / WORDS).write_text("\n".join([*(word.upper() for word in LISTED), "", "notoneoken"]) + "\n")
    sizes = {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 160, "vocab_size": len(pieces)}
    ends = {name: len(pieces) - 1 for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = GPT2Config(**sizes, **ends)
    (folder / CONFIG).write_text(json.dumps({**sizes, **ends, "model_type": "gpt2", "n_ctx": 160}))
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.4)
    masks = {f"transformer.h.{layer}.attn.bias": torch.ones(1, 1, 160, 160) for layer in range(2)}
    torch.save({**model.state_dict(), **masks}, folder / MODEL)
    return folder


def librarys(folder: Path) -> GPT2LMHeadModel:
    """The library's model with the weights of a folder."""
    settings = json.loads((folder / CONFIG).read_text())
    model = GPT2LMHeadModel(GPT2Config(**settings, attn_implementation="sdpa")).eval()
    tensors = torch.load(folder / MODEL)
    model.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.endswith(".attn.bias")})
    return model
