"""ESRGAN upscalers (Wang et al. 2018): a picture two or four times as large, with detail made up on the way."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pad, pixel_unshuffle

from engine.errors import CheckpointError
from engine.gpu.device_memory import give_back
from engine.gpu.out_of_memory import is_out_of_memory
from engine.images.codecs import Pixels
from engine.models.checkpoint import read_tensors
from engine.models.fill import fill, unfilled, weights_size
from engine.models.tiling import EachTile, tiled

log = logging.getLogger(__name__)

TILE, LEAST_TILE = 512, 128
OVERLAP = 32
SLOPE = 0.2
RESIDUAL = 0.2
DENSE_BLOCKS, DENSE_CONVS = 3, 5
COLOURS = 3


class Upscaler:
    """An upscaler's network on its device, in fp32; `scale` times as many pixels on each side."""

    def __init__(self, network: Network, tile: int = TILE) -> None:
        self.network, self.tile = network, tile
        self.scale = network.scale
        self.device = network.first.weight.device
        self.make_room: Callable[[], None] | None = None
        """Has other models leave the device: tried before smaller tiles, which change the picture."""

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Upscaler:
        """The upscaler in `path`, of any usual naming of ESRGAN's layers; sizes are read from the tensors.

        Raises:
            CheckpointError: the file is not there or holds no ESRGAN for colour pictures.
        """
        try:
            tensors = named(read_tensors(path))
            with unfilled():
                network = Network(tensors)
            return cls(fill(network, tensors, device, torch.float32, "the upscaler"))
        except CheckpointError as error:
            raise CheckpointError(f"{path.name} cannot be used as an upscaler: {error}") from error

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return weights_size(self.network)

    @torch.inference_mode()
    def upscale(self, image: Pixels, each: EachTile | None = None) -> Pixels:
        """The picture `[h, w, 3]`, `scale` times as large; `each` is called after every tile and may raise to end it.

        Tiles are halved while they do not fit into a GPU's memory, even without other models.

        Raises:
            RuntimeError: not even a tile of 128 pixels fits.
        """
        # The batch's axis comes first: added last, it hides from torch that the picture lies channels-last.
        pixels = torch.from_numpy(np.ascontiguousarray(image))[None].permute(0, 3, 1, 2).float() / 255
        tile, make_room = self.tile, self.make_room
        while True:
            try:
                large = tiled(self._run, pixels, (tile, tile), OVERLAP, self.scale, each)
                break
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                tile = tile // 2 if make_room is None else tile
                if tile < LEAST_TILE:
                    raise
                log.warning("upscaling ran out of memory; going on in tiles of %d pixels", tile)
            # outside the handler, which keeps what filled the memory alive
            if make_room is not None:
                make_room()
            make_room = None
            give_back(self.device)
        return large[0].clamp_(0, 1).mul_(255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()

    def _run(self, tile: Tensor) -> Tensor:
        return self.network(tile.to(self.device))


class Network(nn.Module):
    """Layers as `named` calls them: first, blocks, trunk, enlarging, fine, last."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        width, given = _shape(tensors, "first.weight")
        growth = _shape(tensors, "blocks.0.dense.0.convs.0.weight")[0]
        enlarging = _count(tensors, r"enlarging\.(\d+)\.weight")
        self.fold = round((given / COLOURS) ** 0.5)
        self.scale = 2**enlarging // self.fold
        if _shape(tensors, "last.weight")[0] != COLOURS or given != COLOURS * self.fold**2 or not self.scale:
            raise CheckpointError(f"it makes {_shape(tensors, 'last.weight')[0]} channels of {given}, not RGB of RGB")
        self.first = _conv(given, width)
        self.blocks = nn.ModuleList(
            _Residual(width, growth) for _ in range(_count(tensors, r"blocks\.(\d+)\.dense\.0\.convs\.0\.weight"))
        )
        self.trunk = _conv(width, width)
        self.enlarging = nn.ModuleList(_conv(width, width) for _ in range(enlarging))
        self.fine, self.last = _conv(width, width), _conv(width, COLOURS)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures `[n, 3, h, w]`, enlarged; those of scale 2 and 1 fold neighbours into channels first."""
        height, width = pixels.shape[-2:]
        if self.fold > 1:  # else the layout stays as given: another one rounds otherwise on a GPU
            pixels = pad(pixels, (0, -width % self.fold, 0, -height % self.fold), mode="replicate")
            pixels = pixel_unshuffle(pixels, self.fold)
        features = shallow = self.first(pixels)
        for block in self.blocks:
            features = block(features)
        features = shallow + self.trunk(features)
        for enlarge in self.enlarging:
            features = leaky_relu(enlarge(interpolate(features, scale_factor=2.0, mode="nearest")), SLOPE)
        large = self.last(leaky_relu(self.fine(features), SLOPE))
        return large[:, :, : height * self.scale, : width * self.scale]


class _Residual(nn.Module):
    """A residual in residual dense block."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList(_Dense(width, growth) for _ in range(DENSE_BLOCKS))

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for dense in self.dense:
            features = dense(features)
        return x + RESIDUAL * features


class _Dense(nn.Module):
    """Convolutions of which each sees what all before it saw and made."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        inner = [_conv(width + n * growth, growth) for n in range(DENSE_CONVS - 1)]
        self.convs = nn.ModuleList([*inner, _conv(width + (DENSE_CONVS - 1) * growth, width)])

    def forward(self, x: Tensor) -> Tensor:
        *inner, last = self.convs
        features = x
        for conv in inner:
            features = torch.cat([features, leaky_relu(conv(features), SLOPE)], dim=1)
        return x + RESIDUAL * last(features)


def named(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors under this module's names.

    Three namings are known: ESRGAN's own, in which layers have numbers (and Fooocus's file, with another word for the
    dense blocks); that of its first release, with words; and that of BasicSR and Real-ESRGAN.

    Raises:
        CheckpointError: another kind of network.
    """
    names = {name: name.replace("residual_block_", "RDB") for name in tensors}
    words = _numbers_as_words(names.values()) | WORDS
    renamed = {_renamed(name, words): tensors[original] for original, name in names.items()}
    _shape(renamed, "first.weight")
    return renamed


WORDS = {
    "conv_first": "first",
    "conv_body": "trunk",
    "trunk_conv": "trunk",
    **{f"{conv}{n + 1}": f"enlarging.{n}" for conv in ("conv_up", "upconv") for n in range(4)},
    "conv_hr": "fine",
    "HRconv": "fine",
    "conv_last": "last",
}
DENSE_NAME = re.compile(r"(?:model\.1\.sub|body|RRDB_trunk)\.(\d+)\.(?:RDB|rdb)([123])\.conv([1-5])(?:\.0)?\.(\w+)")
NUMBERED = re.compile(r"model\.(\d+)\.weight")
NUMBERED_TRUNK = re.compile(r"(model\.1\.sub\.\d+)\.weight")


def _numbers_as_words(names: Iterable[str]) -> dict[str, str]:
    """What a file's numbered layers are: the first, those that enlarge, the last two."""
    listed = list(names)
    numbers = sorted(int(found[1]) for name in listed if (found := NUMBERED.fullmatch(name)))
    roles = ["first", *(f"enlarging.{n}" for n in range(len(numbers) - 3)), "fine", "last"]
    words = {f"model.{number}": role for number, role in zip(numbers, roles, strict=False)}
    return words | {found[1]: "trunk" for name in listed if (found := NUMBERED_TRUNK.fullmatch(name))}


def _renamed(name: str, words: Mapping[str, str]) -> str:
    if found := DENSE_NAME.fullmatch(name):
        block, dense, conv, kind = found.groups()
        return f"blocks.{block}.dense.{int(dense) - 1}.convs.{int(conv) - 1}.{kind}"
    layer, _, kind = name.rpartition(".")
    return f"{words.get(layer, layer)}.{kind}"


def _shape(tensors: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    """Output and input channels of a convolution."""
    if name not in tensors or tensors[name].dim() != 4:
        raise CheckpointError("it is no ESRGAN (RRDB network) in a known naming")
    return tensors[name].shape[0], tensors[name].shape[1]


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return len({found[1] for name in tensors if (found := re.fullmatch(pattern, name))})


def _conv(given: int, made: int) -> nn.Conv2d:
    return nn.Conv2d(given, made, 3, padding=1)
