"""Doubling a picture and convolving it, folded into one step for processors: the same result for 4/9 of the work."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad

from engine.gpu.onednn import Kept, convolved, packed


class FoldedUpsample(nn.Module):
    """Nearest doubling followed by a 3×3 convolution, as four 2×2 convolutions of the small picture.

    Of three neighbouring rows of a doubled picture two are alike: an even row sees w0 of the row before and w1 + w2 of
    its own, an odd one w0 + w1 of its own and w2 of the next; columns likewise. The kernels are made at each call, so
    that changed weights count, or once a run where they are `kept`.
    """

    kept: Kept | None = None

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, hidden_states: Tensor, output_size: Any = None) -> Tensor:
        """The doubled, convolved picture; `output_size` is the library's way to ask for one row or column less."""
        height, width = hidden_states.shape[-2:]
        if output_size is not None and tuple(output_size) != (2 * height, 2 * width):
            return self.conv(interpolate(hidden_states, size=tuple(output_size), mode="nearest"))
        padded = pad(hidden_states, (1, 1, 1, 1))
        shape = (len(hidden_states), self.conv.out_channels, 2 * height, 2 * width)
        bias = None if self.conv.bias is None else self.conv.bias.to(padded.dtype)
        out = torch.empty(shape, dtype=padded.dtype, device=padded.device, memory_format=torch.channels_last)
        for odd in product((0, 1), (0, 1)):
            row, column = odd
            part = padded[:, :, row : row + height + 1, column : column + width + 1]
            out[:, :, row::2, column::2] = self._convolved(part, odd, bias)
        return out

    def _convolved(self, part: Tensor, odd: tuple[int, int], bias: Tensor | None) -> Tensor:
        """The picture's even or odd rows and columns."""
        if self.kept is None or not self.kept.owned:
            return conv2d(part, self._kernel(odd, part.dtype), bias)
        kernel = self.kept.get((id(self), part.shape, odd), lambda: packed(self._kernel(odd, part.dtype), part.shape))
        return convolved(part, kernel, bias)

    def _kernel(self, odd: tuple[int, int], dtype: torch.dtype) -> Tensor:
        return folded(folded(self.conv.weight.to(dtype), 2, odd[0]), 3, odd[1])


def folded(weight: Tensor, dim: int, odd: int) -> Tensor:
    """Three taps of a doubled picture as two taps of the picture, for even or odd places."""
    first, middle, last = weight.split(1, dim)
    taps = [first + middle, last] if odd else [first, middle + last]
    return torch.cat(taps, dim).contiguous(memory_format=torch.channels_last)


def fold_upsampling(module: nn.Module) -> None:
    """Put `FoldedUpsample` in place of every such layer; weights keep their names."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Upsample2D) and isinstance(child.conv, nn.Conv2d) and child.norm is None:
                setattr(parent, name, FoldedUpsample(child.conv))
