"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"): tokens to the logits of the next.

It is transformers' `GPT2LMHeadModel`, which attends by torch's own attention: the same names of weights, the same
bytes. Importing the library's takes an engine several times as long as loading the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

ACTIVATION = "gelu_new"

Elementwise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Gpt2Sizes:
    """The model's width, heads, layers, longest text in tokens, and tokens in all; `eps` is of its norms."""

    width: int = 768
    heads: int = 12
    layers: int = 12
    positions: int = 1024
    vocabulary: int = 50257
    eps: float = 1e-5

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Gpt2Sizes:
        """Those that a `config.json` gives; what it leaves out is as in the smallest GPT-2.

        Raises:
            ValueError: it is of another model, or of a variant that would compute otherwise.
        """
        plain = {
            "model_type": "gpt2",
            "activation_function": ACTIVATION,
            "n_inner": None,
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
            "tie_word_embeddings": True,
        }
        if others := {name: config[name] for name, usual in plain.items() if config.get(name, usual) != usual}:
            raise ValueError(f"no plain GPT-2: {others}")
        keys = {
            "width": "n_embd",
            "heads": "n_head",
            "layers": "n_layer",
            "positions": "n_positions",
            "vocabulary": "vocab_size",
            "eps": "layer_norm_epsilon",
        }
        sizes = cls(**{name: config[key] for name, key in keys.items() if key in config})
        if sizes.width % sizes.heads:
            raise ValueError(f"{sizes.heads} heads cannot share a width of {sizes.width}")
        return sizes


@dataclass(frozen=True)
class Gpt2Read:
    """What the model makes of texts of one length."""

    logits: Tensor
    """Of the token that follows, `[texts, vocabulary]`."""
    caches: list[tuple[Tensor, Tensor]]
    """The keys and values of each layer, each `[texts, heads, tokens, width / heads]`."""


def gelu_new(x: Tensor) -> Tensor:
    """The GELU that GPT-2 was trained with, by tanh; each operation rounds."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def looked_up(function: Elementwise, dtype: torch.dtype, device: torch.device) -> Elementwise:
    """The function of 16-bit numbers as a table of all 65,536: the same bits, in fewer launches than it takes."""
    bits = torch.cat([torch.arange(1 << 15), torch.arange(-1 << 15, 0)]).to(device, torch.int16)
    table = function(bits.view(dtype))
    return lambda x: table[x.view(torch.int16).long()]  # a negative index counts from the end, as the sign bit does


class Conv1D(nn.Module):
    """A linear layer whose weight is `[inputs, outputs]`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(inputs, outputs)), nn.Parameter(torch.empty(outputs))

    def forward(self, hidden: Tensor) -> Tensor:
        """Its output `[..., outputs]`."""
        flat = torch.addmm(self.bias, hidden.reshape(-1, len(self.weight)), self.weight)
        return flat.unflatten(0, hidden.shape[:-1])


class Gpt2Attention(nn.Module):
    """Tokens read those before them, and themselves."""

    def __init__(self, sizes: Gpt2Sizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.c_attn, self.c_proj = Conv1D(sizes.width, 3 * sizes.width), Conv1D(sizes.width, sizes.width)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the tokens `[texts, tokens, width]` read, and their keys and values."""
        joined = self.c_attn(hidden).unflatten(-1, (3, self.heads, -1))
        query, key, value = joined.permute(2, 0, 3, 1, 4)
        key, value = key.contiguous(), value.contiguous()  # as they lie in the library's cache: attention rounds so
        read = scaled_dot_product_attention(query, key, value, is_causal=hidden.shape[1] > 1)
        return self.c_proj(read.transpose(1, 2).flatten(2)), key, value


class Gpt2FeedForward(nn.Module):
    """The second half of a block."""

    def __init__(self, sizes: Gpt2Sizes) -> None:
        super().__init__()
        self.activation: Elementwise = gelu_new
        self.c_fc, self.c_proj = Conv1D(sizes.width, 4 * sizes.width), Conv1D(4 * sizes.width, sizes.width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Its output, of the shape of `hidden`."""
        return self.c_proj(self.activation(self.c_fc(hidden)))


class Gpt2Block(nn.Module):
    """One layer, which norms what it reads."""

    def __init__(self, sizes: Gpt2Sizes) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = (nn.LayerNorm(sizes.width, eps=sizes.eps) for _ in range(2))
        self.attn, self.mlp = Gpt2Attention(sizes), Gpt2FeedForward(sizes)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Its output, of the shape of `hidden`, and its tokens' keys and values."""
        read, key, value = self.attn(self.ln_1(hidden))
        hidden = hidden + read
        return hidden + self.mlp(self.ln_2(hidden)), key, value


class Gpt2Transformer(nn.Module):
    """All before the logits, under the library's names."""

    def __init__(self, sizes: Gpt2Sizes) -> None:
        super().__init__()
        self.wte = nn.Embedding(sizes.vocabulary, sizes.width)
        self.wpe = nn.Embedding(sizes.positions, sizes.width)
        self.h = nn.ModuleList(Gpt2Block(sizes) for _ in range(sizes.layers))
        self.ln_f = nn.LayerNorm(sizes.width, eps=sizes.eps)


class Gpt2(nn.Module):
    """A GPT-2 of these sizes; `tie` it once it has its weights."""

    def __init__(self, sizes: Gpt2Sizes) -> None:
        super().__init__()
        self.sizes, self.transformer = sizes, Gpt2Transformer(sizes)
        self.lm_head = nn.Linear(sizes.width, sizes.vocabulary, bias=False)

    def tie(self) -> None:
        """Have one table for the tokens that are read and for those that follow."""
        self.lm_head.weight = self.transformer.wte.weight

    def look_up_activations(self) -> None:
        """Have the activations of 16-bit numbers read off a table, once it is on the device where it computes."""
        table = self.transformer.wte.weight
        activation = looked_up(gelu_new, table.dtype, table.device)
        for module in self.modules():
            if isinstance(module, Gpt2FeedForward):
                module.activation = activation

    def forward(self, tokens: Tensor) -> Gpt2Read:
        """What it makes of texts `[texts, tokens]`."""
        transformer = self.transformer
        places = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = transformer.wte(tokens) + transformer.wpe(places)
        caches = []
        for block in transformer.h:
            hidden, key, value = block(hidden)
            caches.append((key, value))
        return Gpt2Read(self.lm_head(transformer.ln_f(hidden)[:, -1:])[:, -1], caches)
