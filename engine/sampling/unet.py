"""The UNet as the engine knows it: the library's module, or any that has these parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn


class UNetConfig(Protocol):
    """A UNet's settings: those read here by name, and all of them as a mapping."""

    @property
    def in_channels(self) -> int:
        """The channels of its latents."""
        ...

    @property
    def block_out_channels(self) -> Sequence[int]:
        """The width of each level, the finest first."""
        ...

    @property
    def cross_attention_dim(self) -> int:
        """The width of the text it reads."""
        ...

    def keys(self) -> Iterable[str]:
        """The names of all settings."""
        ...

    def __getitem__(self, name: str, /) -> Any: ...


class UNet(Protocol):
    """A denoising network of the Stable Diffusion family, as diffusers' `UNet2DConditionModel` is built."""

    @property
    def config(self) -> UNetConfig:
        """Its settings."""
        ...

    @property
    def conv_in(self) -> nn.Conv2d:
        """The first layer."""
        ...

    @property
    def down_blocks(self) -> Iterable[Any]:
        """The blocks going down, the finest level first."""
        ...

    @property
    def mid_block(self) -> Any:
        """The block between going down and going up."""
        ...

    @property
    def up_blocks(self) -> Iterable[Any]:
        """The blocks going up, the coarsest level first."""
        ...

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        *,
        added_cond_kwargs: Mapping[str, Tensor | None],
        down_block_additional_residuals: tuple[Tensor, ...] | None,
        mid_block_additional_residual: Tensor | None,
        return_dict: bool,
    ) -> Sequence[Tensor]:
        """The output for scaled states `[n, channels, h, w]`, alone in a tuple where `return_dict` is false."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """It and all modules in it."""
        ...

    def parameters(self) -> Iterator[Tensor]:
        """Its weights."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Its weights by name."""
        ...

    def state_dict(self) -> Mapping[str, Tensor]:
        """Its weights and buffers by name."""
        ...
