"""BLIP's captioner: a sentence about a photograph (Li et al. 2022, arXiv 2201.12086)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from engine.detectors.bert import HEAD, bert_sizes
from engine.detectors.clip_vision import DEVIATION, MEAN
from engine.detectors.word_pieces import END, tokenizer
from engine.errors import CheckpointError
from engine.images.codecs import Pixels
from engine.models.checkpoint import read_tensors
from engine.models.fill import fill, unfilled, weights_size
from engine.models.renaming import layers_below, renamed

if TYPE_CHECKING:
    from transformers import BlipConfig

PROMPT = "a picture of "
START_OF_CAPTION = 30522
"""The token that BLIP puts in the place of BERT's first one."""
LEAST, MOST = 10, 75
"""Tokens of a caption, the prompt's among them."""
TOP_K, TOP_P, REPETITION = 50, 0.9, 1.1
UNUSED = ("text_decoder.bert.embeddings.position_ids",)
NAMES = (
    (r"^visual_encoder\.cls_token$", "vision_model.embeddings.class_embedding"),
    (r"^visual_encoder\.pos_embed$", "vision_model.embeddings.position_embedding"),
    (r"^visual_encoder\.patch_embed\.proj\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual_encoder\.norm\.", "vision_model.post_layernorm."),
    (r"^visual_encoder\.blocks\.", "vision_model.encoder.layers."),
    (r"^(vision_model\.encoder\.layers\.\d+)\.norm([12])\.", r"\1.layer_norm\2."),
    (r"^(vision_model\.encoder\.layers\.\d+)\.attn\.qkv\.", r"\1.self_attn.qkv."),
    (r"^(vision_model\.encoder\.layers\.\d+)\.attn\.proj\.", r"\1.self_attn.projection."),
)
"""BLIP's names in the library's; those of the text decoder are the same."""


class Captioner:
    """The captioner on its device, in fp32."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.side: int = module.config.vision_config.image_size
        self.size = weights_size(module)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Captioner:
        """The captioner in `path`, under the names of BLIP's own files.

        Raises:
            CheckpointError: the file is not there or is no captioner.
        """
        from transformers import BlipForConditionalGeneration

        tensors = {name: tensor for name, tensor in read_tensors(path).items() if name not in UNUSED}
        try:
            weights = {renamed(name, NAMES): tensor for name, tensor in tensors.items()}
            with unfilled():
                module = BlipForConditionalGeneration(captioner_config(weights))
            return cls(fill(module, weights, device, torch.float32, "the captioner"))
        except (CheckpointError, KeyError) as error:
            raise CheckpointError(f"{path.name} cannot be used as a captioner: {error.args[0]}") from error

    @torch.inference_mode()
    def caption(self, image: Pixels) -> str:
        """A sentence about a picture `[h, w, 3]`, drawn by nucleus sampling; the same one for the same picture."""
        device = self.module.device
        seen = self.module.vision_model(pixel_values=pixel_values(image, self.side).to(device)).last_hidden_state
        chance = torch.Generator().manual_seed(seed_of(image))
        prompt = [START_OF_CAPTION, *tokenizer().encode(PROMPT).ids[1:-1]]
        tokens = list(prompt)
        while len(tokens) < MOST:
            output = self.module.text_decoder(torch.tensor([tokens], device=device), encoder_hidden_states=seen)
            token = drawn(output.logits[0, -1].float().cpu(), tokens, chance)
            if token == END:
                break
            tokens.append(token)
        return tokenizer().decode(tokens[len(prompt) :])


def drawn(logits: Tensor, tokens: list[int], chance: torch.Generator) -> int:
    """The next token by its `logits` `[vocabulary]` behind `tokens`.

    Tokens that were there are less likely (Keskar et al. 2019, arXiv 1909.05858), a caption does not end too soon;
    of what is left the 50 most likely count, and of those the fewest that make up 0.9 (arXiv 1904.09751).
    """
    logits = logits.clone()
    there = torch.tensor(sorted(set(tokens)))
    logits[there] = torch.where(logits[there] < 0, logits[there] * REPETITION, logits[there] / REPETITION)
    if len(tokens) < LEAST:
        logits[END] = -math.inf
    best, ids = logits.topk(min(TOP_K, len(logits)))
    chances = best.softmax(0)
    before = chances.cumsum(0) - chances
    chances[before >= TOP_P] = 0
    return int(ids[torch.multinomial(chances, 1, generator=chance)])


def seed_of(image: Pixels) -> int:
    """A seed computed from the picture: the same picture, the same seed."""
    return int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "big") >> 1


def pixel_values(image: Pixels, side: int) -> Tensor:
    """The picture stretched to `side`×`side`, bicubic and not smoothed before, normalised; `[1, 3, side, side]`."""
    colours = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    square = interpolate(colours, (side, side), mode="bicubic", align_corners=False)
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (square - mean) / deviation


def captioner_config(weights: Mapping[str, Tensor]) -> BlipConfig:
    """The settings of the captioner with these weights.

    Raises:
        KeyError: one that tells them is not there.
    """
    from transformers import BlipConfig

    patches = weights["vision_model.embeddings.patch_embedding.weight"]
    positions = weights["vision_model.embeddings.position_embedding"]
    width = patches.shape[0]
    vision = {
        "hidden_size": width,
        "intermediate_size": weights["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": layers_below(weights, "vision_model.encoder.layers."),
        "num_attention_heads": max(1, width // HEAD),
        "image_size": math.isqrt(positions.shape[1] - 1) * patches.shape[-1],
        "patch_size": patches.shape[-1],
        "layer_norm_eps": 1e-6,
    }
    text = {"encoder_hidden_size": width, **bert_sizes(weights, "text_decoder.bert.")}
    return BlipConfig(vision_config=vision, text_config=text)
