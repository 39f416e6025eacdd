"""The image prompt adapter: a resampler and keys and values for every cross-attention, trained on a frozen UNet."""

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from engine.adapters.image_prompt import cross_attentions, weighed
from engine.adapters.resampler import Resampler
from engine.detectors.clip_vision import ImageFeatures
from training import pairs
from training.bank import encode_bank
from training.compose import Sheet, compose, take
from training.models import WIDTH_G, WIDTH_L, Conditioner
from training.train_unet import Trainer
from training.vision import SIDE, WIDTH, Tower, roughened

log = logging.getLogger("training")
TOKENS, LAYERS, MLP = 16, 2, 4 * WIDTH
WEIGHTS = (0.5, 1.0)
"""Between which an image prompt's weight lies in training; requests have 0.6 if they say nothing."""


class Adapter(nn.Module):
    """The weights of an IP-Adapter Plus and the tokens that stand for no picture."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        context = WIDTH_L + WIDTH_G
        self.resampler = Resampler(TOKENS, WIDTH, WIDTH, LAYERS, MLP, WIDTH, context)
        nn.init.normal_(self.resampler.latents, std=WIDTH**-0.5)
        self.negative = nn.Parameter(0.02 * torch.randn(1, TOKENS, context))
        layers = cross_attentions(unet)
        # as the text's, which is where the layers' queries look
        self.keys = nn.ParameterList(nn.Parameter(layer.to_k.weight.detach().clone()) for layer in layers)
        self.values = nn.ParameterList(nn.Parameter(layer.to_v.weight.detach().clone()) for layer in layers)
        self.widest = max(key.shape[0] for key in self.keys)

    def forward(self, features: Tensor, seen: Tensor, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Each layer's keys and values of pictures' features [n,197,width]; where `seen` [n,1,1] is not, of none."""
        tokens = torch.where(seen, self.resampler(ImageFeatures(features, features)), self.negative)
        pairs_of = zip(self.keys, self.values, strict=True)
        return [weighed(tokens @ key.T, tokens @ value.T, weight, self.widest) for key, value in pairs_of]

    def exported(self) -> tuple[dict[str, Tensor], Tensor]:
        """The adapter under an IP-Adapter's names, and the tokens of no picture."""
        named = {f"image_proj.{name}": tensor for name, tensor in self.resampler.state_dict().items()}
        for n, (key, value) in enumerate(zip(self.keys, self.values, strict=True)):
            named[f"ip_adapter.{2 * n + 1}.to_k_ip.weight"] = key
            named[f"ip_adapter.{2 * n + 1}.to_v_ip.weight"] = value
        return {n: t.detach().float().cpu().contiguous() for n, t in named.items()}, self.negative.detach().half().cpu()

    @torch.no_grad()
    def take(self, tensors: dict[str, Tensor], negative: Tensor) -> None:
        """The inverse of `exported`."""
        mine, _ = self.exported()
        for name, tensor in tensors.items():
            if tensor.shape != mine[name].shape:
                raise ValueError(f"{name} is {tuple(tensor.shape)}, not {tuple(mine[name].shape)}")
        part = {n.removeprefix("image_proj."): t for n, t in tensors.items() if n.startswith("image_proj.")}
        self.resampler.load_state_dict(part)
        for n in range(len(self.keys)):
            self.keys[n].copy_(tensors[f"ip_adapter.{2 * n + 1}.to_k_ip.weight"])
            self.values[n].copy_(tensors[f"ip_adapter.{2 * n + 1}.to_v_ip.weight"])
        self.negative.copy_(negative)


class Prompted(nn.Module):
    """A frozen UNet whose cross-attentions read, after the text, what `look` saw last."""

    def __init__(self, unet: UNet2DConditionModel, adapter: Adapter) -> None:
        super().__init__()
        self.unet, self.adapter = unet.requires_grad_(False), adapter
        self.now: list[tuple[Tensor, Tensor]] | None = None
        for n, layer in enumerate(cross_attentions(unet)):
            layer.set_processor(Reading(self, n))

    def look(self, features: Tensor, seen: Tensor, weight: Tensor) -> None:
        """Read these pictures in what follows, each by its weight [n,1,1]."""
        self.now = self.adapter(features, seen, weight)

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """What the UNet says."""
        return self.unet(*arguments, **named)


class Reading:
    """A cross-attention's processor: one softmax over the text's tokens and the picture's, as the engine's."""

    def __init__(self, prompted: Prompted, layer: int) -> None:
        self.prompted, self.layer = prompted, layer

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        key, value = attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        if self.prompted.now is not None:
            more = self.prompted.now[self.layer]
            key, value = torch.cat([key, more[0].to(key.dtype)], 1), torch.cat([value, more[1].to(value.dtype)], 1)
        query, key, value = (
            part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in (attn.to_q(hidden_states), key, value)
        )
        return attn.to_out[0](scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


@dataclass
class PairBank:
    """Latents fp16 [n,4,h,w] to draw, token rows [n,8,77], and the features [n,197,width] of what says so."""

    latents: Tensor
    rows: Tensor
    features: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Latent height and width."""
        return self.latents.shape[-2], self.latents.shape[-1]


@torch.no_grad()
def features_of(tower: Tower, pictures: Tensor, kind: torch.dtype) -> Tensor:
    """The tower's states of pictures 0..1 of its size."""
    device = pictures.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        return tower(pictures)[0].to(kind)


def encode_pairs(
    plan: dict[str, np.ndarray],
    sheet: Sheet,
    vae: AutoencoderKL,
    tower: Tower,
    size: tuple[int, int],
    seconds: float,
    generator: torch.Generator,
    batch: int = 512,
) -> PairBank:
    """The bank of a plan of pairs, its pictures of this latent size, the references roughened."""
    bank = encode_bank(plan, sheet, vae, size[0] * 8, size[1] * 8, seconds, generator)
    began, found, count = time.monotonic(), [], len(bank.latents)
    references = pairs.others(plan)
    kind = torch.bfloat16 if sheet.device.type == "cuda" else torch.float32
    for at in range(0, count, batch):
        pictures = compose(take(references, slice(at, min(at + batch, count))), sheet, SIDE, SIDE, generator)
        found.append(features_of(tower, roughened(pictures, generator), kind))
    log.info("references of %d in %.1f s", count, time.monotonic() - began)
    return PairBank(bank.latents, bank.rows, torch.cat(found))


class AdapterTrainer(Trainer):
    """The UNet's trainer, with all frozen but the adapter."""

    def __init__(self, unet: UNet2DConditionModel, conditioner: Conditioner, adapter: Adapter, **options: Any) -> None:
        super().__init__(Prompted(unet, adapter), conditioner.requires_grad_(False), **options)  # type: ignore[arg-type]

    @torch.no_grad()
    def drawn(self, bank: PairBank, batch: int, k: int) -> dict[str, Tensor]:  # type: ignore[override]
        """A batch as the UNet's trainer draws it; the texts of half say nothing, and a tenth has no picture.

        Of texts that are to be avoided, two thirds have none: that is the side that guidance leads away from.
        """
        drawn = (self.rand(batch) * len(bank.latents)).long().clamp(max=len(bank.latents) - 1)
        picked = PairBank(bank.latents[drawn], bank.rows[drawn], bank.features[drawn])
        latents, when = picked.latents.float(), self.times(batch)
        signal, noise = self.abar[when][:, None, None, None], self.noise(latents)
        snr = (signal / (1 - signal)).flatten()
        rows, avoided = self.spoken(picked.rows, k)
        low, high = WEIGHTS
        return {
            "noisy": (signal.sqrt() * latents + (1 - signal).sqrt() * noise).to(
                self.copies[0].dtype, memory_format=torch.channels_last
            ),
            "noise": noise,
            "time": when,
            "weight": snr.clamp(max=self.mix.gamma) / snr,
            "rows": rows,
            "sizes": self.sizes(batch, latents.shape[-2] * 8, latents.shape[-1] * 8),
            "features": picked.features,
            "seen": self.rand(batch, 1, 1) > torch.where(avoided, 0.67, 0.10),
            "counts": (low + (high - low) * self.rand(batch, 1, 1)).to(self.copies[0].dtype),
        }

    def spoken(self, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """k wordings a sample [n,k,77], and which samples [n,1,1] have texts that are to be avoided."""
        n, captions = len(rows), pairs.CAPTIONS
        order = self.rand(n, captions).argsort(1)[:, :k]
        fate = self.rand(n, 1, 1)
        mute = (fate < 0.61).long()[:, :, 0] * captions
        chosen = rows.gather(1, (order + mute)[:, :, None].expand(-1, -1, rows.shape[2]))
        pick = (self.rand(n, k) ** 1.5 * len(self.negatives)).long().clamp(max=len(self.negatives) - 1)
        avoided = fate < 0.11
        return torch.where(avoided, self.negatives[pick], chosen), avoided

    def loss(self, batch: dict[str, Tensor], skip: int) -> Tensor:
        """The UNet's loss, read with the pictures."""
        self.copy[0].look(batch["features"], batch["seen"], batch["counts"])
        return super().loss(batch, skip)
