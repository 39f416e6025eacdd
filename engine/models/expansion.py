"""Prompt expansion, "Fooocus V2": a GPT-2 that adds words of a list to a prompt. Neither model nor list is ours.

Every word of the list may be added once and commas at will, until the text fills whole chunks of CLIP's.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from engine.errors import CheckpointError
from engine.gpu.capabilities import Features, Precision
from engine.models.checkpoint import read_tensors
from engine.models.expansion_decoding import Begun, Decoder, WordChoice
from engine.models.fill import fill, unfilled, weights_size
from engine.models.gpt2 import Gpt2, Gpt2Sizes
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
ROWS = 4
"""Texts that a GPU goes on with at a time, also where there is but one: fewer rows round otherwise, and a picture has
the same words alone and among others. A step of four takes half as long again as one of one."""
MOST_DECODERS, MOST_KNOWN = 2, 1024
"""Lengths whose caches and recorded steps are kept, and texts whose words are known."""

Key = tuple[str, int]
"""A text and the seed of its words."""


class Expansion:
    """The model, its tokenizer, and a bias of the vocabulary towards the words of the list."""

    def __init__(self, model: Gpt2, tokenizer: Tokenizer, words: list[str]) -> None:
        self.model, self.tokenizer = model, tokenizer
        weight = model.transformer.wte.weight
        self.device = weight.device
        vocabulary = tokenizer.get_vocab()
        self.end = vocabulary[END]
        bias = torch.full((weight.shape[0],), NEVER)
        bias[[vocabulary[word] for word in words if word in vocabulary]] = 0
        self.choice = WordChoice(bias.to(self.device, weight.dtype), NEVER, vocabulary[","], TOP_K)
        self.rows = ROWS if Features.for_device(self.device).graphs else 1
        self._decoders: OrderedDict[int, Decoder] = OrderedDict()
        self._known: OrderedDict[Key, str] = OrderedDict()

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

    def expand(self, text: str, seed: int) -> str:
        """The text with words added; the same seed adds the same words, on the same kind of device."""
        return self.expand_all([(text, seed)])[0]

    @torch.inference_mode()
    def expand_all(self, texts: Sequence[tuple[str, int]], each: Callable[[], None] = lambda: None) -> list[str]:
        """Texts with words added, each by its seed, to which others beside it change nothing.

        `each` is called before every few texts and may raise.
        """
        wanted = [(text, seed % SEEDS) for text, seed in texts]
        fresh = [key for key in dict.fromkeys(wanted) if key not in self._known]
        begun = {key: started for key in fresh if (started := self._begun(*key)) is not None}
        drawn = self._drawn(begun, each)
        found = {key: self._known.get(key) or self._finished(key[0], drawn.get(key)) for key in dict.fromkeys(wanted)}
        self._known.update(found)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return [found[key] for key in wanted]

    def _begun(self, text: str, seed: int) -> Begun | None:
        """The tokens of a text and how many fit after them; None where none do."""
        ids = self.tokenizer.encode(cleaned(text) + ",", add_special_tokens=False).ids if text else []
        count = min(-len(ids) % CHUNK, self.model.sizes.positions - len(ids))
        return Begun(tuple(ids), count, seed) if count > 0 else None

    def _drawn(self, begun: Mapping[Key, Begun], each: Callable[[], None]) -> dict[Key, list[int]]:
        """The tokens of texts with those drawn for them, as many texts at a time as a decoder has rows.

        A decoder's work is the same whatever its rows hold, so that texts beside a text change nothing.
        """
        drawn: dict[Key, list[int]] = {}
        for length in sorted({len(text.tokens) + text.count for text in begun.values()}):
            keys = [key for key, text in begun.items() if len(text.tokens) + text.count == length]
            for few in (keys[first : first + self.rows] for first in range(0, len(keys), self.rows)):
                each()
                added = self._decoder(length).drawn([begun[key] for key in few])
                for key, tokens in zip(few, added, strict=True):
                    end = tokens.index(self.end) + 1 if self.end in tokens else len(tokens)
                    drawn[key] = [*begun[key].tokens, *tokens[:end]]
        return drawn

    def _finished(self, text: str, tokens: list[int] | None) -> str:
        """The text that tokens spell; without any, what was given."""
        if tokens is None:
            return cleaned(text)
        decoded = self.tokenizer.decode(tokens, skip_special_tokens=True)
        for spaced, mark in CLOSED_UP.items():
            decoded = decoded.replace(spaced, mark)
        return cleaned(decoded)

    def _decoder(self, length: int) -> Decoder:
        """That of texts of so many tokens; the last few are kept."""
        decoder = self._decoders.pop(length, None) or Decoder(self.model, self.choice, self.rows, length)
        self._decoders[length] = decoder
        while len(self._decoders) > MOST_DECODERS:
            self._decoders.popitem(last=False)
        return decoder


def _tokenizer(folder: Path) -> Tokenizer:
    """GPT-2's byte pair encoding, without a space before the first word."""
    vocabulary, merges = BPE.read_file(str(folder / VOCABULARY), str(folder / MERGES))
    tokenizer = Tokenizer(BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens([AddedToken(END, normalized=False)])
    return tokenizer


def _model(folder: Path, device: torch.device) -> Gpt2:
    """The language model; its output layer is the table of its tokens."""
    sizes = Gpt2Sizes.of_config(json.loads((folder / CONFIG).read_text("utf-8")))
    tensors = {
        name if name.startswith("transformer.") else f"transformer.{name}": tensor
        for name, tensor in read_tensors(folder / MODEL).items()
        if not name.startswith("lm_head.") and not name.endswith((".attn.bias", ".attn.masked_bias"))
    }
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    with unfilled():
        model = Gpt2(sizes)
    fill(model, tensors, device, Precision.for_device(device).arithmetic, "the language model")
    model.tie()
    if Features.for_device(device).graphs and model.lm_head.weight.itemsize == 2:
        model.look_up_activations()
    return model
