"""Prompt expansion, "Fooocus V2": a GPT-2 that adds words of a list to a prompt. Neither model nor list is ours.

Every word of the list may be added once and commas at will, until the text fills whole chunks of CLIP's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from engine.errors import CheckpointError
from engine.gpu.capabilities import Precision
from engine.models.checkpoint import read_tensors
from engine.models.fill import fill, weights_size
from engine.prompt.lines import cleaned

MODEL, CONFIG, VOCABULARY, MERGES, WORDS = (
    "pytorch_model.bin",
    "config.json",
    "vocab.json",
    "merges.txt",
    "positive.txt",
)
END = "<|endoftext|>"
SPACE = "Ġ"
"""How GPT-2's vocabulary spells a leading space."""
CHUNK = 75
TOP_K = 100
NEVER = -8192.0
"""Added to the logits of what may not be chosen."""
CLOSED_UP = (
    {f" {mark}": mark for mark in ".?!,"} | {" ' ": "'"} | {f" {end}": end for end in ("n't", "'m", "'s", "'ve", "'re")}
)
"""The spaces that transformers 4 takes out of a text it decodes, in this order."""
SEEDS = 1 << 32


class Expansion:
    """The model, its tokenizer, and a bias of the vocabulary towards the words of the list."""

    def __init__(self, model: Any, tokenizer: Tokenizer, words: list[str]) -> None:
        self.model, self.tokenizer = model, tokenizer
        weight = model.transformer.wte.weight
        self.device = weight.device
        vocabulary = tokenizer.get_vocab()
        self.comma, self.end = vocabulary[","], vocabulary[END]
        bias = torch.full((weight.shape[0],), NEVER)
        bias[[vocabulary[word] for word in words if word in vocabulary]] = 0
        self.bias = bias.to(self.device, weight.dtype)

    @staticmethod
    def missing(folder: Path) -> list[str]:
        """The files that expansion needs and the folder lacks."""
        return [name for name in (MODEL, CONFIG, VOCABULARY, MERGES, WORDS) if not (folder / name).is_file()]

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Expansion:
        """The files of a folder, the model in half precision where a GPU computes in it.

        Raises:
            CheckpointError: a file is missing or unusable.
        """
        missing = cls.missing(folder)
        if missing:
            raise CheckpointError(f"Prompt expansion lacks {', '.join(missing)} in {folder.name}")
        try:
            tokenizer = _tokenizer(folder)
            lines = (folder / WORDS).read_text("utf-8").splitlines()
            words = [SPACE + line.lower() for line in lines if line]
            return cls(_model(folder, device), tokenizer, words)
        except CheckpointError as error:
            raise CheckpointError(f"Prompt expansion cannot use the files in {folder.name}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            text = f"Prompt expansion cannot use the files in {folder.name}: they are damaged or of another model"
            raise CheckpointError(text) from error

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return weights_size(self.model)

    @torch.inference_mode()
    def expand(self, text: str, seed: int) -> str:
        """The text with words added; the same seed adds the same words, on the same kind of device."""
        if not text:
            return ""
        text = cleaned(text) + ","
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        count = min(-len(ids) % CHUNK, self.model.config.n_positions - len(ids))
        if count <= 0:
            return text[:-1]
        decoded = self.tokenizer.decode(self._continued(ids, count, seed % SEEDS), skip_special_tokens=True)
        for spaced, mark in CLOSED_UP.items():
            decoded = decoded.replace(spaced, mark)
        return cleaned(decoded)

    def _continued(self, ids: list[int], count: int, seed: int) -> list[int]:
        """The tokens and up to `count` more, drawn as a freshly seeded generator of the device draws."""
        generator = torch.Generator(self.device).manual_seed(seed)
        bias = self.bias.clone()
        ids, fresh, past = list(ids), ids, None
        for _ in range(count):
            bias[fresh] = NEVER
            bias[self.comma] = 0
            given = torch.tensor([fresh], device=self.device)
            output = self.model(input_ids=given, past_key_values=past, use_cache=True, logits_to_keep=1)
            past = output.past_key_values
            scores = _largest(output.logits[0, -1] + bias, TOP_K)
            fresh = [int(torch.multinomial(scores.softmax(dim=-1), 1, generator=generator))]
            ids += fresh
            if fresh == [self.end]:
                break
        return ids


def _largest(scores: Tensor, count: int) -> Tensor:
    """The scores with all but the largest (and what equals the least of these) ruled out."""
    least = scores.topk(min(count, len(scores))).values[-1]
    return scores.masked_fill(scores < least, -torch.inf)


def _tokenizer(folder: Path) -> Tokenizer:
    """GPT-2's byte pair encoding, without a space before the first word."""
    vocabulary, merges = BPE.read_file(str(folder / VOCABULARY), str(folder / MERGES))
    tokenizer = Tokenizer(BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens([AddedToken(END, normalized=False)])
    return tokenizer


def _model(folder: Path, device: torch.device) -> Any:
    """The language model; its output layer is the table of its tokens."""
    settings = json.loads((folder / CONFIG).read_text("utf-8"))
    config = GPT2Config(**(settings | {"attn_implementation": "sdpa"}))
    tensors = {
        name if name.startswith("transformer.") else f"transformer.{name}": tensor
        for name, tensor in read_tensors(folder / MODEL).items()
        if not name.startswith("lm_head.") and not name.endswith((".attn.bias", ".attn.masked_bias"))
    }
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    with torch.device("meta"):
        model = GPT2LMHeadModel(config)
    fill(model, tensors, device, Precision.for_device(device).arithmetic, "the language model")
    model.lm_head.weight = model.transformer.wte.weight
    return model
