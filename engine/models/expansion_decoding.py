"""GPT-2's words one after the other, for several texts at once: keys and values of fixed places, a step recorded.

The library's loop grows its cache with each token, so that no step is like the one before, and every step waits for
its token: on a GPU its thousand launches cost more than its work. Here every step is the same work in the same places,
which a GPU replays as one CUDA graph, and nobody waits before the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from engine.gpu.capabilities import Features
from engine.gpu.graph_capture import capture
from engine.models.gpt2 import Gpt2, Gpt2Attention, Gpt2Read
from engine.sampling.graphs import RunOnce

ALIGNED = 8
"""Attention masks are multiples of this long."""


@dataclass(frozen=True)
class Begun:
    """A text that goes on: its tokens, how many are to follow, and the seed of the generator that draws them."""

    tokens: tuple[int, ...]
    count: int
    seed: int


@dataclass(frozen=True)
class WordChoice:
    """What may be drawn: `bias` `[vocabulary]` is added to logits, a drawn token is out but for `again`, and all but
    the `top_k` largest are ruled out."""

    bias: Tensor
    never: float
    again: int
    top_k: int


class Decoder:
    """The steps of `rows` texts of at most `length` tokens, of which one that is shorter keeps to itself.

    Where more of the list is left than ever counts, nothing but its words can be drawn, and only their logits count.
    """

    def __init__(self, model: Gpt2, choice: WordChoice, rows: int, length: int) -> None:
        self.model, self.choice, self.rows, self.length = model, choice, rows, length
        table, sizes = model.lm_head.weight, model.sizes
        self.device = table.device
        listed = choice.bias == 0
        listed[choice.again] = True
        enough = int(listed.sum()) - 1 - length >= choice.top_k
        self.words = listed.nonzero()[:, 0] if enough else torch.arange(len(table), device=self.device)
        """The tokens that can be drawn."""
        self._again = int((self.words == choice.again).nonzero())
        places = -(-length // ALIGNED) * ALIGNED
        shape = rows, places, 2, sizes.heads, sizes.width // sizes.heads
        self.caches = [table.new_zeros(shape) for _ in model.transformer.h]
        self.allowed = table.new_zeros(rows, len(self.words))
        """The bias of each row, in which what it has drawn is out."""
        self.tokens = torch.zeros(rows, dtype=torch.long, device=self.device)
        self.at = torch.zeros(rows, dtype=torch.long, device=self.device)
        """Where each row's last token stands."""
        self.noise = table.new_ones(rows, len(table))
        self._each = torch.arange(rows, device=self.device)
        self._places = torch.arange(places, device=self.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._tried: RunOnce | None = None
        """A step that was computed eagerly, in which libraries choose their kernels."""

    def drawn(self, texts: Sequence[Begun]) -> list[list[int]]:
        """The tokens that follow each text, at most `rows` texts; what an end would cut off is drawn as well."""
        logits, last = self._begin(texts), [len(text.tokens) - 1 for text in texts]
        self.at.copy_(torch.tensor(last + [0] * (self.rows - len(texts))))
        generators = [torch.Generator(self.device).manual_seed(text.seed) for text in texts]
        drawn = []
        for step in range(max(text.count for text in texts)):
            for row, generator in enumerate(generators):
                self.noise[row].exponential_(1, generator=generator)
            if step == 0:
                self._draw(logits)
            else:
                self._step()
            drawn.append(self.tokens.clone())
        table = torch.stack(drawn, 1).tolist()
        return [row[: text.count] for row, text in zip(table, texts, strict=False)]

    def _begin(self, texts: Sequence[Begun]) -> Tensor:
        """Have the caches hold the texts; the logits `[rows, words]` of what follows, the same text read once."""
        read: dict[tuple[int, ...], Gpt2Read] = {}
        logits = torch.zeros_like(self.allowed)
        for row, text in enumerate(texts):
            given = torch.tensor([text.tokens], device=self.device)
            if text.tokens not in read:
                read[text.tokens] = self.model(given)
            output = read[text.tokens]
            for cache, (keys, values) in zip(self.caches, output.caches, strict=True):
                cache[row, : len(text.tokens), 0] = keys[0].transpose(0, 1)
                cache[row, : len(text.tokens), 1] = values[0].transpose(0, 1)
            bias = self.choice.bias.clone()
            bias[given[0]] = self.choice.never
            bias[self.choice.again] = 0
            self.allowed[row] = bias[self.words]
            logits[row] = output.logits[0, self.words]
        return logits

    def _step(self) -> None:
        """One more token for every row, out of the last one: eagerly once, recorded then, replayed from then on."""
        if not self._stays():
            self._graph, self._tried = None, None
        if self._graph is None and self._tried is not None and self._tried.by_this_thread:
            self._graph = torch.cuda.CUDAGraph()
            with capture(self._graph):
                self._next()
        if self._graph is not None:
            self._graph.replay()
            return
        self._next()
        self._tried = RunOnce() if self._stays() else None

    def _stays(self) -> bool:
        """Whether steps are recorded: on a GPU that can, of weights that never leave it (others know their group)."""
        table = self.model.transformer.wte.weight
        return Features.for_device(self.device).graphs and not hasattr(table, "weight_group")

    def _next(self) -> None:
        """The work of a step."""
        transformer: Any = self.model.transformer
        self.at.add_(1).clamp_(max=self.length - 1)
        hidden = transformer.wte(self.tokens) + transformer.wpe(self.at)
        beyond = self._places > self.at[:, None]
        mask = torch.zeros_like(beyond, dtype=hidden.dtype).masked_fill_(beyond, -torch.inf)[:, None, None]
        for block, cache in zip(transformer.h, self.caches, strict=True):
            hidden = hidden + self._read(block.attn, block.ln_1(hidden), cache, mask)
            hidden = hidden + block.mlp(block.ln_2(hidden))
        # All logits are made, as for the first word: rounded as those are.
        self._draw(self.model.lm_head(transformer.ln_f(hidden))[:, self.words])

    def _read(self, attn: Gpt2Attention, hidden: Tensor, cache: Tensor, mask: Tensor) -> Tensor:
        """What the rows `[rows, width]` read of what their caches hold, themselves included."""
        joined = attn.c_attn(hidden).unflatten(-1, (3, attn.heads, -1))
        cache[self._each, self.at] = joined[:, 1:]
        key, value = cache.permute(2, 0, 3, 1, 4)
        read = scaled_dot_product_attention(joined[:, 0, :, None], key, value, mask)
        return attn.c_proj(read[:, :, 0].flatten(1))

    def _draw(self, logits: Tensor) -> None:
        """A token for every row, as `torch.multinomial` draws one with this noise; it is not drawn again."""
        scores = logits + self.allowed
        least = scores.topk(min(self.choice.top_k, scores.shape[-1])).values[:, -1:]
        chances = scores.masked_fill(scores < least, -torch.inf).softmax(dim=-1)
        place = (chances / self.noise[:, self.words]).argmax(dim=-1)
        self.tokens.copy_(self.words[place])
        self.allowed.scatter_(1, place[:, None], self.choice.never)
        self.allowed[:, self._again] = 0
