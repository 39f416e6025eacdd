"""One call of a UNet, as the tensors it is made of."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from torch import Tensor

from engine.sampling.attachments import Residuals
from engine.sampling.unet import UNet


@dataclass(frozen=True)
class UNetCall:
    """A UNet's inputs: the scaled state, its timestep, the text, the sizes (`[n, 6]` or `[n, 5]`), control."""

    x: Tensor
    t: Tensor
    context: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None
    residuals: Residuals | None = None
    moment: float = 0.0
    """The timestep for whoever compares calls: asking a GPU for `t` would wait for it."""

    def on(self, unet: UNet) -> Tensor:
        """The UNet's output, `[n, channels, h, w]`."""
        added = {} if self.pooled is None else {"text_embeds": self.pooled, "time_ids": self.sizes}
        control = self.residuals
        return unet(
            self.x,
            self.t,
            encoder_hidden_states=self.context,
            added_cond_kwargs=added,
            down_block_additional_residuals=None if control is None else control.skips,
            mid_block_additional_residual=None if control is None else control.middle,
            return_dict=False,
        )[0]

    @property
    def form(self) -> Hashable:
        """Shapes and number formats of all tensors, and which there are: calls of one form differ in values only."""
        sort = (self.pooled is None, self.sizes is None, self.residuals is None)
        return sort, tuple((tensor.shape, tensor.dtype) for tensor in self.tensors())

    def tensors(self) -> Iterator[Tensor]:
        """All tensors, always in the same order."""
        yield from (self.x, self.t, self.context)
        yield from (tensor for tensor in (self.pooled, self.sizes) if tensor is not None)
        if self.residuals is not None:
            yield from (*self.residuals.skips, self.residuals.middle)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> UNetCall:
        """The call with every tensor changed."""
        added = self.residuals
        return UNetCall(
            change(self.x),
            change(self.t),
            change(self.context),
            None if self.pooled is None else change(self.pooled),
            None if self.sizes is None else change(self.sizes),
            None if added is None else Residuals(tuple(map(change, added.skips)), change(added.middle)),
        )
