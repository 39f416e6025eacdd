"""Image prompts: pictures as tokens that a UNet's cross-attention reads beside the text's (IP-Adapter, Ye et al. 2023).

One softmax goes over the tokens of the text and of all pictures together; there is no attention of their own.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from engine.adapters.resampler import load_projection
from engine.detectors.clip_vision import ImageFeatures
from engine.errors import CheckpointError
from engine.files import detect, torch_files
from engine.gpu.capabilities import Precision
from engine.gpu.upcast import arithmetic_of
from engine.models.checkpoint import SAFETENSORS, read_tensors
from engine.models.fill import weights_size
from engine.models.weight_names import part_of
from engine.sampling.attachments import Evaluation, Residuals
from engine.sampling.unet import UNet

log = logging.getLogger(__name__)

PARTS = ("image_proj", "ip_adapter")
NEGATIVE = "data"

KeyValue = tuple[Tensor, Tensor]
"""A layer's keys and values, `[rows, tokens, width]` each."""

State = tuple[tuple[int, ...], tuple[bool, ...]]
"""The prompts that count, by their places, and which rows hold the positive side."""


@dataclass(frozen=True)
class ImageTokens:
    """A picture's keys and values for every cross-attention, in `cross_attentions`' order, one row each.

    `negative` are those of the side that is to be avoided: of no picture, but not zero.
    """

    positive: tuple[KeyValue, ...]
    negative: tuple[KeyValue, ...]


@dataclass(frozen=True)
class EncodedImagePrompt:
    """A picture that counts by `weight` (0 to 2) while the sampling's progress is below `stop` (0 to 1)."""

    tokens: ImageTokens
    stop: float
    weight: float


class ImagePromptAdapter:
    """A file that makes pictures into tokens, on its device; `negative` `[1, tokens, width]` stands for no picture."""

    def __init__(self, projection: Any, layers: Sequence[KeyValue], negative: Tensor) -> None:
        self.projection, self.layers, self.negative = projection, tuple(layers), negative
        self._negative_tokens: tuple[KeyValue, ...] | None = None

    @classmethod
    def load(cls, path: Path, negative_path: Path, device: torch.device) -> ImagePromptAdapter:
        """The adapter in `path` (`.bin` or `.safetensors`) with the tokens of no picture in `negative_path`.

        Raises:
            CheckpointError: a file is not there or is no such thing, or they do not fit each other.
        """
        dtype = Precision.for_device(device).arithmetic
        image_proj, ip_adapter = read_adapter(path)
        try:
            projection = load_projection(image_proj, device, dtype)
            layers = [(key.to(device).to(dtype), value.to(device).to(dtype)) for key, value in _by_layer(ip_adapter)]
        except CheckpointError as error:
            raise CheckpointError(f"{path.name} cannot be used as an IP-Adapter: {error}") from error
        negative = read_tensors(negative_path).get(NEGATIVE)
        width = layers[0][0].shape[1]
        if negative is None or negative.dim() != 3 or negative.shape[2] != width:
            raise CheckpointError(f"{negative_path.name}: no tokens {width} wide under the name {NEGATIVE}")
        return cls(projection, layers, negative.to(device).to(dtype))

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        layers = sum(key.nbytes + value.nbytes for key, value in self.layers)
        return weights_size(self.projection) + layers + self.negative.nbytes

    @torch.inference_mode()
    def tokens(self, features: ImageFeatures) -> ImageTokens:
        """A picture's keys and values for all layers."""
        if self._negative_tokens is None:
            self._negative_tokens = self._projected(self.negative)
        return ImageTokens(self._projected(self.projection(features)), self._negative_tokens)

    def _projected(self, tokens: Tensor) -> tuple[KeyValue, ...]:
        return tuple((tokens @ key.T, tokens @ value.T) for key, value in self.layers)


class ImagePrompts:
    """An attachment: every cross-attention reads, after the text's tokens, those of the pictures that still count.

    A picture's tokens are those of its positive or negative side, as the row is; they are not repeated where a text
    is. A picture of weight 0 still has its tokens, which take their part of the attention.
    """

    def __init__(self, prompts: Sequence[EncodedImagePrompt]) -> None:
        self.prompts = tuple(prompts)
        self._prepared: dict[State, tuple[KeyValue, ...]] = {}
        self._now: tuple[KeyValue, ...] = ()
        self._dtype: torch.dtype | None = None
        """What the UNet computes in, once this is attached."""

    @contextmanager
    def attached(self, unet: UNet) -> Iterator[None]:
        """Let every cross-attention read the pictures, for the length of the block.

        Raises:
            CheckpointError: an adapter is made for a UNet of another shape.
        """
        layers = cross_attentions(unet)
        self._fit([layer.to_k.out_features for layer in layers])
        before, self._dtype = [layer.processor for layer in layers], arithmetic_of(unet.conv_in)
        try:
            for n, (layer, processor) in enumerate(zip(layers, before, strict=True)):
                layer.set_processor(_WithPictures(self, n, processor))
            yield
        finally:
            for layer, processor in zip(layers, before, strict=True):
                layer.set_processor(processor)

    def state(self, evaluation: Evaluation) -> State:
        """Which of the prompts count at this evaluation, and for which sides; their tokens are made ready."""
        active = tuple(n for n, prompt in enumerate(self.prompts) if evaluation.progress < prompt.stop)
        state = active, evaluation.positive
        # What was made ready once stays where it is: recorded graphs read it there.
        if state not in self._prepared:
            self._prepared[state] = tuple(self._joined(n, active, evaluation.positive) for n in self._layers(active))
        self._now = self._prepared[state]
        return state

    def residuals(self, evaluation: Evaluation) -> Residuals | None:
        """None: image prompts add nothing to the skip connections."""
        return None

    def pictures(self, layer: int) -> KeyValue | None:
        """What a layer reads now beside the text, if anything."""
        return self._now[layer] if self._now else None

    def _fit(self, widths: list[int]) -> None:
        for prompt in self.prompts:
            given = [key.shape[-1] for key, _ in prompt.tokens.positive]
            if given != widths:
                raise CheckpointError(
                    f"the IP-Adapter is made for a UNet with {len(given)} cross-attentions up to {max(given)} wide; "
                    f"this one has {len(widths)}, up to {max(widths, default=0)} wide"
                )

    def _layers(self, active: tuple[int, ...]) -> range:
        return range(len(self.prompts[0].tokens.positive) if active else 0)

    @torch.inference_mode()
    def _joined(self, layer: int, active: tuple[int, ...], positive: tuple[bool, ...]) -> KeyValue:
        """The weighed tokens of the active pictures one after the other, a row for each of the batch."""
        keys, values = [], []
        for prompt in (self.prompts[n] for n in active):
            sides = prompt.tokens
            widest = max(key.shape[-1] for key, _ in sides.positive)
            rows = [(sides.positive if is_positive else sides.negative)[layer] for is_positive in positive]
            key, value = (torch.cat(part) for part in zip(*rows, strict=True))
            key, value = weighed(key, value, prompt.weight, widest)
            keys.append(key.to(self._dtype or key.dtype))
            values.append(value.to(self._dtype or value.dtype))
        return torch.cat(keys, dim=1), torch.cat(values, dim=1)


def weighed(key: Tensor, value: Tensor, weight: float, widest: int) -> KeyValue:
    """A picture's keys and values `[n, tokens, width]` in one layer, by a prompt's weight.

    The weight is first lessened in narrow layers, by their width over that of the UNet's widest cross-attention (1280
    in SDXL, which Fooocus has as a constant). It scales the keys; of the values it scales what all tokens share, their
    mean, and leaves what tells the tokens apart. This is Fooocus's weighting; only this function knows it.
    """
    scale = weight * key.shape[-1] / widest
    mean = value.mean(dim=1, keepdim=True)
    return key * scale, (value - mean) + mean * scale


def cross_attentions(unet: UNet) -> list[Any]:
    """A UNet's cross-attentions in the order of the adapters' files: going down, going up, then the middle."""
    blocks = (*unet.down_blocks, *unet.up_blocks, unet.mid_block)
    attentions = (part for block in blocks for part in getattr(block, "attentions", None) or () if part is not None)
    return [transformer.attn2 for part in attentions for transformer in part.transformer_blocks]


class _WithPictures:
    """A cross-attention's processor that reads pictures too; without any, it computes as the processor `alone`."""

    def __init__(self, prompts: ImagePrompts, layer: int, alone: Any) -> None:
        self.prompts, self.layer, self.alone = prompts, layer, alone

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        pictures = self.prompts.pictures(self.layer)
        if pictures is None:
            return self.alone(attn, hidden_states, encoder_hidden_states, attention_mask)
        key = torch.cat([attn.to_k(encoder_hidden_states), pictures[0]], dim=1)
        value = torch.cat([attn.to_v(encoder_hidden_states), pictures[1]], dim=1)
        query, key, value = (
            part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in (attn.to_q(hidden_states), key, value)
        )
        read = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](read))


def read_adapter(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An adapter file's two parts: the image projection and the layers' keys and values.

    Raises:
        CheckpointError: the file is not there or is no IP-Adapter.
    """
    if path.suffix.lower() == SAFETENSORS:
        tensors = read_tensors(path)
        parts = [part_of(tensors, f"{part}.") for part in PARTS]
    else:
        content = _unpickled(path)
        parts = [dict(content.get(part) or {}) for part in PARTS]
    if not all(parts):
        raise CheckpointError(f"{path.name}: not an IP-Adapter (it needs the parts image_proj and ip_adapter)")
    return parts[0], parts[1]


def _unpickled(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path.name}: there is no such file")
    try:
        content = torch_files.load(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # readers of broken files fail in every way there is
        log.info("%s cannot be read", path, exc_info=error)
        reason = detect.unusable(path) or detect.DAMAGED
        raise CheckpointError(f"{path.name}: not a readable model file: it is {reason}") from error
    return content if isinstance(content, dict) else {}


def _by_layer(tensors: dict[str, Tensor]) -> list[KeyValue]:
    """The key and value matrices in the order of their numbers."""
    numbers = sorted({int(found[1]) for name in tensors if (found := re.fullmatch(r"(\d+)\.to_k_ip\.weight", name))})
    try:
        layers = [(tensors[f"{n}.to_k_ip.weight"], tensors[f"{n}.to_v_ip.weight"]) for n in numbers]
    except KeyError as error:
        raise CheckpointError(f"it lacks {error.args[0]}") from error
    if not layers or 2 * len(layers) != len(tensors):
        raise CheckpointError("its layers have other parts than keys and values for image tokens")
    return layers
