"""The attention of a picture to its text as one GPU kernel: few keys, which fit a program at once.

It is written in Triton; importing this module needs it. Sums are fp32, as the library's kernels have them.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

HEAD_WIDTH = 64
"""The width of the heads it is made for, which are those of SDXL."""
QUERIES, KEYS, WARPS = 64, 32, 4
"""Queries of one program, the keys it takes at a time, and its warps."""
FEW_KEYS = 16
"""Fewer keys at a time than this no matrix product takes."""


@triton.jit(do_not_specialize=["tokens", "keys"])
def _text_attention_kernel(query, joined, out, tokens, keys, width, scale, HEAD: tl.constexpr,
                           QUERIES: tl.constexpr, KEYS: tl.constexpr):  # fmt: skip
    """What some queries of one head read; `joined` has keys, then values, in a row for each token of the text."""
    block, head, n = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    rows, inner, line = block * QUERIES + tl.arange(0, QUERIES), tl.arange(0, HEAD), tl.arange(0, KEYS)
    inside = rows[:, None] < tokens
    place = (n.to(tl.int64) * tokens + rows[:, None]) * width + head * HEAD + inner[None, :]
    asked = tl.load(query + place, inside, 0.0).to(joined.dtype.element_ty)
    text = joined + n.to(tl.int64) * keys * 2 * width + head * HEAD
    most = tl.full((QUERIES,), -float("inf"), tl.float32)
    weight = tl.zeros((QUERIES,), tl.float32)
    read = tl.zeros((QUERIES, HEAD), tl.float32)
    for first in range(0, keys, KEYS):
        there = first + line < keys
        at = text + (first + line) * 2 * width
        key = tl.load(at[None, :] + inner[:, None], there[None, :], 0.0)
        score = tl.where(there[None, :], tl.dot(asked, key) * scale, -float("inf"))
        higher = tl.maximum(most, tl.max(score, 1))
        lessened = tl.exp2(most - higher)
        part = tl.exp2(score - higher[:, None])
        value = tl.load(at[:, None] + width + inner[None, :], there[:, None], 0.0)
        weight = weight * lessened + tl.sum(part, 1)
        read = read * lessened[:, None] + tl.dot(part.to(value.dtype), value)
        most = higher
    tl.store(out + place, (read / weight[:, None]).to(out.dtype.element_ty), inside)


def reads_text(heads: int, width: int) -> bool:
    """Whether the kernel is made for heads of this width together."""
    return width == heads * HEAD_WIDTH


def read_text(query: Tensor, joined: Tensor, heads: int) -> Tensor:
    """What queries `[n, tokens, width]` read of a text, whose keys and values lie in `joined` `[n, keys, 2·width]`."""
    query, joined = query.contiguous(), joined.contiguous()
    n, tokens, width = query.shape
    keys = joined.shape[1]
    out = torch.empty_like(query)
    scale = math.log2(math.e) / math.sqrt(HEAD_WIDTH)
    at_once = min(KEYS, max(FEW_KEYS, triton.next_power_of_2(keys)))
    _text_attention_kernel[triton.cdiv(tokens, QUERIES), heads, n](
        query, joined, out, tokens, keys, width, scale, HEAD=HEAD_WIDTH, QUERIES=QUERIES, KEYS=at_once, num_warps=WARPS
    )
    return out
