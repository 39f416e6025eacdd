"""The VAE: latents to pictures and pictures to latents, with sizes read from a file's tensors."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn
from torch.nn.functional import pad

from engine.errors import CheckpointError
from engine.gpu.capabilities import Precision
from engine.gpu.compiled_kernels import Kernels
from engine.gpu.device_memory import give_back
from engine.gpu.fused import fuse
from engine.gpu.out_of_memory import is_out_of_memory
from engine.gpu.side_stream import Fetched
from engine.models.fill import fill, unfilled, weights_size
from engine.models.tiling import EachTile, averaged
from engine.models.unet import norm_groups
from engine.models.weight_names import vae_from_ldm

log = logging.getLogger(__name__)

Result = TypeVar("Result")

DOWNSCALE = 8
ENCODED_TILES = ((512, 512), (1024, 256), (256, 1024))
"""Width and height in pixels of the tiles of each pass."""
ENCODED_OVERLAP = 64
DECODED_TILES = ((32, 128), (128, 32), (64, 64))
"""Width and height in latent pixels of the tiles of each pass."""
DECODED_OVERLAP = 16
GREY = 0.5
NO_VAE = "it has no VAE in a known layout; a complete single-file checkpoint is needed"


def vae_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings of `AutoencoderKL` for weights under diffusers names.

    Raises:
        CheckpointError: no VAE, or one that does not work on an eighth of the picture's side.
    """
    widths: list[int] = []
    layers = 0
    while (name := f"encoder.down_blocks.{len(widths)}.resnets.0.conv1.weight") in tensors:
        widths.append(tensors[name].shape[0])
    if not widths or "decoder.conv_in.weight" not in tensors:
        raise CheckpointError(NO_VAE)
    if 2 ** (len(widths) - 1) != DOWNSCALE:
        raise CheckpointError(f"its VAE has {len(widths)} levels; 4 are needed (latents of an eighth of the side)")
    while f"encoder.down_blocks.0.resnets.{layers}.conv1.weight" in tensors:
        layers += 1
    return {
        "block_out_channels": tuple(widths),
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "layers_per_block": layers,
        "latent_channels": tensors["decoder.conv_in.weight"].shape[1],
        "norm_num_groups": norm_groups(tuple(widths)),
        "mid_block_add_attention": any(re.search(r"mid_block\.attentions\.0\.", name) for name in tensors),
        "use_quant_conv": "quant_conv.weight" in tensors,
        "use_post_quant_conv": "post_quant_conv.weight" in tensors,
        "force_upcast": False,
    }


class Autoencoder(Protocol):
    """The networks of a VAE, as diffusers' `AutoencoderKL` is built."""

    @property
    def config(self) -> Any:
        """Its settings, `latent_channels` among them."""
        ...

    def encode(self, x: Tensor) -> Any:
        """An answer whose `latent_dist` is the distribution of latents of pictures `[n, 3, 8h, 8w]` in [-1, 1]."""
        ...

    def decode(self, z: Tensor) -> Any:
        """An answer whose `sample` are the pictures, in [-1, 1], of latents `[n, 4, h, w]`."""
        ...

    def parameters(self) -> Iterator[Tensor]:
        """Its weights."""
        ...


class Vae:
    """A VAE; its latents are not scaled for any UNet.

    `margin` latent pixels on each side repeat the edge before anything is encoded or decoded, and are cut off after:
    the zeros that convolutions see beyond the edge reach that far in.
    """

    def __init__(self, module: Autoencoder, margin: int = 0) -> None:
        self.module, self.margin = module, margin
        self.dtype = next(module.parameters()).dtype
        self.moves = True
        """Whether it may leave its device and come back; one that was put on the processor stays there."""
        self.make_room: Callable[[], None] | None = None
        """Has other models leave the device, if they can: tried before tiles, which change the picture."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.module.parameters()).device

    @classmethod
    def load(
        cls,
        tensors: Mapping[str, Tensor],
        device: torch.device,
        dtype: torch.dtype,
        kernels: Kernels | None = None,
        margin: int = 0,
        *,
        carried: bool = False,
    ) -> Vae:
        """A VAE with these weights (checkpoint or diffusers names, without prefix).

        Its decoder is fused with `kernels`, which only a GPU has; without them it is the library's. `carried` is as for
        `fill`.

        Raises:
            CheckpointError: the weights are incomplete or of another kind of VAE.
        """
        if not tensors:
            raise CheckpointError(NO_VAE)
        renamed = vae_from_ldm(tensors)
        config = vae_config(renamed)
        with unfilled():
            module = AutoencoderKL(**config)
        module = fill(module, renamed, device, dtype, "the VAE", carried=carried)
        if kernels is not None:
            # The encoder stays the library's, which rounds where other programs do but for its last activation: a
            # variation of small strength keeps so much of an encoded picture that a fused one's own roundings showed.
            fuse(module.decoder, kernels)
            module.encoder.conv_act = RoundedSwish()
        return cls(module, margin)

    @classmethod
    def placed(
        cls,
        tensors: Mapping[str, Tensor],
        device: torch.device,
        precision: Precision,
        kernels: Kernels | None = None,
        margin: int = 0,
        *,
        carried: bool = False,
    ) -> Vae:
        """As `load`, in this precision, on the processor if that says so.

        Raises:
            CheckpointError: the weights are incomplete or of another kind of VAE.
        """
        if not precision.vae_on_processor:
            return cls.load(tensors, device, precision.vae, kernels, margin, carried=carried)
        vae = cls.load(tensors, torch.device("cpu"), precision.vae, None, margin)
        vae.moves = False
        return vae

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return weights_size(self.module)

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> np.ndarray:
        """The pictures of latents `[batch, 4, h, w]`: uint8 `[batch, 8h, 8w, 3]`, cut off, not rounded.

        In tiles, if a GPU's memory is too small for it in one go, even without other models.
        """
        whole = self._in_one_go(lambda: self.decode_whole(latent))
        return self.decode_tiled(latent) if whole is None else whole

    @torch.inference_mode()
    def decode_whole(self, latent: Tensor) -> np.ndarray:
        """The same, in one go whatever there is room for."""
        return _pixels(self._shifted(latent) / 2)

    @torch.inference_mode()
    def decode_tiled(self, latent: Tensor, each: EachTile | None = None) -> np.ndarray:
        """The same, in overlapping tiles of three shapes, averaged; `each` is called after every tile and may raise."""
        return _pixels(averaged(self._shifted, latent, DECODED_TILES, DECODED_OVERLAP, DOWNSCALE, each) / 2)

    @torch.inference_mode()
    def encode(self, image: np.ndarray, generator: torch.Generator) -> Tensor:
        """The latent of a picture `[h, w, 3]`, uint8 or float in [0, 1]: fp32 `[1, 4, h // 8, w // 8]`.

        The picture is cropped to multiples of 8 around its middle. A latent is drawn from those that stand for it,
        with noise from the generator, a CPU's. In tiles, if a GPU's memory is too small for it in one go.
        """
        return self._encoded(_cropped(_unit(image)), generator)

    @torch.inference_mode()
    def encode_tiled(self, image: np.ndarray, generator: torch.Generator, each: EachTile | None = None) -> Tensor:
        """The same, in overlapping tiles of three shapes, averaged; each draws noise of its own."""
        return self._encoded_tiled(_cropped(_unit(image)), generator, each)

    @torch.inference_mode()
    def encode_inpaint(self, image: np.ndarray, mask: np.ndarray, generator: torch.Generator) -> Tensor:
        """The latent of a picture whose masked part (`[h, w]`, uint8, above 127) is grey, else as `encode`.

        It is not cropped: what is left over of multiples of 8 is below and on the right.
        """
        painted = (torch.from_numpy(mask).float() / 255).round()
        return self._encoded(_unit(image) * (1 - painted) + GREY * painted, generator)

    def skip_noise(self, image: np.ndarray, generator: torch.Generator) -> None:
        """Draw from the generator what `encode_inpaint` would in one go, so that the next latent has the same noise."""
        height, width = image.shape[:2]
        torch.randn(1, self.module.config.latent_channels, height // DOWNSCALE, width // DOWNSCALE, generator=generator)

    @torch.inference_mode()
    def encode_mean(self, pixels: Tensor) -> Tensor:
        """The most likely latents, fp32, of pictures `[batch, 3, 8h, 8w]` in [0, 1]."""
        return self._posterior(pixels).mean.float()

    def _shifted(self, latent: Tensor) -> Tensor:
        """Decoded pictures, fp32, in [0, 2] and somewhat beyond."""
        return decoded(self.module, latent.to(self.device, self.dtype), self.margin).float() + 1

    def _posterior(self, pixels: Tensor) -> DiagonalGaussianDistribution:
        return posterior(self.module, (pixels * 2 - 1).to(self.device, self.dtype), self.margin)

    def _drawn(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        posterior = self._posterior(pixels)
        noise = torch.randn(posterior.mean.shape, generator=generator)
        return posterior.mean + posterior.std * noise.to(self.device)

    def _encoded(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        whole = self._in_one_go(lambda: self._drawn(pixels, generator))
        return self._encoded_tiled(pixels, generator) if whole is None else whole

    def _in_one_go(self, work: Callable[[], Result]) -> Result | None:
        """The work's result; None if a GPU's memory is too small for it, even without other models."""
        for make_room in [lambda: None, *([self.make_room] if self.make_room else [])]:
            make_room()
            try:
                return work()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                log.warning("there is not enough memory for a whole picture")
            give_back(self.device)  # outside the handler, which keeps what filled the memory alive
        return None

    def _encoded_tiled(self, pixels: Tensor, generator: torch.Generator, each: EachTile | None = None) -> Tensor:
        def drawn(tile: Tensor) -> Tensor:
            return self._drawn(tile, generator)

        return averaged(drawn, pixels, ENCODED_TILES, ENCODED_OVERLAP, 1 / DOWNSCALE, each).to(self.device)


class RoundedSwish(nn.Module):
    """SiLU as a sigmoid and a product, each of which is rounded: so do the encoders of other programs end."""

    def forward(self, hidden: Tensor) -> Tensor:
        """The activation."""
        return hidden * hidden.sigmoid()


def decoded(module: Autoencoder, latent: Tensor, margin: int) -> Tensor:
    """The pictures `[batch, 3, 8h, 8w]` that a VAE's module decodes, in [-1, 1], with a margin while it does so."""
    if not margin:
        return module.decode(latent).sample
    return _without(module.decode(_with(latent, margin)).sample, DOWNSCALE * margin)


def posterior(module: Autoencoder, pixels: Tensor, margin: int) -> DiagonalGaussianDistribution:
    """The latents that pictures `[batch, 3, 8h, 8w]` in [-1, 1] may have, encoded with a margin."""
    if not margin:
        return module.encode(pixels).latent_dist
    found = module.encode(_with(pixels, DOWNSCALE * margin)).latent_dist
    return DiagonalGaussianDistribution(_without(found.parameters, margin))


def _with(values: Tensor, margin: int) -> Tensor:
    return pad(values, (margin,) * 4, mode="replicate")


def _without(values: Tensor, margin: int) -> Tensor:
    return values[..., margin:-margin, margin:-margin]


def _pixels(pictures: Tensor) -> np.ndarray:
    """Pictures `[batch, 3, h, w]` in [0, 1] as uint8 `[batch, h, w, 3]`."""
    pictures = pictures.clamp_(0, 1).mul_(255)
    return Fetched(pictures.to(torch.uint8).permute(0, 2, 3, 1).contiguous()).array()


def _unit(image: np.ndarray) -> Tensor:
    """A picture as fp32 `[1, 3, h, w]` in [0, 1], its channels last in memory.

    The batch's axis is there before the others change places: were it added last, torch would not see that channels
    are last, and a GPU would convolve the other way, which rounds otherwise than other programs do.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image))[None].float()
    if image.dtype == np.uint8:
        pixels /= 255
    return pixels.permute(0, 3, 1, 2)


def _cropped(pixels: Tensor) -> Tensor:
    """The middle of pictures, in multiples of 8."""
    height, width = pixels.shape[-2:]
    top, left = height % DOWNSCALE // 2, width % DOWNSCALE // 2
    return pixels[:, :, top : top + height // DOWNSCALE * DOWNSCALE, left : left + width // DOWNSCALE * DOWNSCALE]
