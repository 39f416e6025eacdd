"""Grounding DINO: boxes around what words name (Liu et al. 2023, arXiv 2303.05499)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.detectors.bert import bert_sizes
from engine.detectors.word_pieces import tokenizer
from engine.errors import CheckpointError
from engine.images.codecs import Pixels
from engine.models.checkpoint import read_tensors
from engine.models.fill import fill, weights_size
from engine.models.renaming import layers_below, renamed

if TYPE_CHECKING:
    from transformers import GroundingDinoConfig

SHORTER, LONGER = 800, 1333
"""Sides that pictures are scaled to: the shorter one's, unless the longer one would be too long."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MOST_TOKENS = 256
SWIN = "model.backbone.conv_encoder.model.swin."
FINAL_NORM = f"{SWIN}layernorm."
"""A norm that the library builds and detection does not use."""
UNUSED = ("label_enc.", "bert.pooler.", "bert.embeddings.position_ids")
NAMES = (
    (r"^backbone\.0\.patch_embed\.proj\.", f"{SWIN}embeddings.patch_embeddings.projection."),
    (r"^backbone\.0\.patch_embed\.norm\.", f"{SWIN}embeddings.norm."),
    (r"^backbone\.0\.norm1\.", "model.backbone.conv_encoder.model.hidden_states_norms.stage2."),
    (r"^backbone\.0\.norm2\.", "model.backbone.conv_encoder.model.hidden_states_norms.stage3."),
    (r"^backbone\.0\.norm3\.", "model.backbone.conv_encoder.model.hidden_states_norms.stage4."),
    (r"^(backbone\.0\.layers\.\d+\.blocks\.\d+)\.norm1\.", r"\1.layernorm_before."),
    (r"^(backbone\.0\.layers\.\d+\.blocks\.\d+)\.norm2\.", r"\1.layernorm_after."),
    (
        r"^(backbone\.0\.layers\.\d+\.blocks\.\d+)\.attn\.relative_position_bias_table$",
        r"\1.attention.relative_position_bias.relative_position_bias_table",
    ),
    (r"^(backbone\.0\.layers\.\d+\.blocks\.\d+)\.attn\.proj\.", r"\1.attention.o_proj."),
    (r"^(backbone\.0\.layers\.\d+\.blocks\.\d+)\.attn\.", r"\1.attention."),
    (r"^backbone\.0\.layers\.", f"{SWIN}encoder.layers."),
    (r"^input_proj\.", "model.input_proj_vision."),
    (r"^bert\.", "model.text_backbone."),
    (r"^feat_map\.", "model.text_projection."),
    (r"^transformer\.tgt_embed\.", "model.query_position_embeddings."),
    (r"^transformer\.enc_out_bbox_embed\.", "model.encoder_output_bbox_embed."),
    (r"^transformer\.encoder\.layers\.(\d+)\.", r"model.encoder.layers.\1.deformable_layer."),
    (r"(\.deformable_layer)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"(\.deformable_layer)\.norm2\.", r"\1.final_layer_norm."),
    (r"^transformer\.encoder\.text_layers\.(\d+)\.", r"model.encoder.layers.\1.text_enhancer_layer."),
    (r"(\.text_enhancer_layer)\.norm1\.", r"\1.layer_norm_before."),
    (r"(\.text_enhancer_layer)\.norm2\.", r"\1.layer_norm_after."),
    (r"^transformer\.encoder\.fusion_layers\.(\d+)\.", r"model.encoder.layers.\1.fusion_layer."),
    (r"(\.fusion_layer)\.gamma_v$", r"\1.vision_param"),
    (r"(\.fusion_layer)\.gamma_l$", r"\1.text_param"),
    (r"(\.fusion_layer\.(?:layer_norm_|attn\.(?:values_|out_)?))v([._])", r"\1vision\2"),
    (r"(\.fusion_layer\.(?:layer_norm_|attn\.(?:values_|out_)?))l([._])", r"\1text\2"),
    (r"^transformer\.decoder\.norm\.", "model.decoder.layer_norm."),
    (r"^transformer\.decoder\.ref_point_head\.", "model.decoder.reference_points_head."),
    (r"^transformer\.decoder\.", "model.decoder."),
    (r"^(model\.decoder\.layers\.\d+)\.cross_attn\.", r"\1.encoder_attn."),
    (r"^(model\.decoder\.layers\.\d+)\.ca_text\.", r"\1.encoder_attn_text."),
    (r"^(model\.decoder\.layers\.\d+)\.catext_norm\.", r"\1.encoder_attn_text_layer_norm."),
    (r"^(model\.decoder\.layers\.\d+)\.norm1\.", r"\1.encoder_attn_layer_norm."),
    (r"^(model\.decoder\.layers\.\d+)\.norm2\.", r"\1.self_attn_layer_norm."),
    (r"^(model\.decoder\.layers\.\d+)\.norm3\.", r"\1.final_layer_norm."),
    (r"^(model\.(?:en|de)coder\.layers\.\d+(?:\.\w+_layer)?)\.linear([12])\.", r"\1.fc\2."),
    (r"^transformer\.", "model."),
)
"""The authors' names in the library's; what is `FUSED` there is parted besides."""
FUSED = {
    ".attention.qkv.": (".attention.q_proj.", ".attention.k_proj.", ".attention.v_proj."),
    ".in_proj_": (".query.", ".key.", ".value."),
}
"""What is one tensor in the file, and the three it is in the library."""


class GroundingDino:
    """The detector on its device, in fp32."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.size = weights_size(module)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> GroundingDino:
        """The detector in `path`, under the names of its authors' files.

        Raises:
            CheckpointError: the file is not there or is no such detector.
        """
        from transformers import GroundingDinoForObjectDetection
        from transformers.initialization import no_init_weights

        tensors = read_tensors(path)
        try:
            weights = library_weights(tensors)
            with no_init_weights():
                module = GroundingDinoForObjectDetection(detector_config(weights))
            return cls(fill(module, weights, device, torch.float32, "the detector").to(device))
        except (CheckpointError, KeyError) as error:
            raise CheckpointError(f"{path.name} cannot be used as Grounding DINO: {error.args[0]}") from error

    @torch.inference_mode()
    def boxes(self, image: Pixels, words: str, threshold: float) -> Tensor:
        """Boxes `[n, 4]` (left, top, right, bottom in pixels) in a picture `[h, w, 3]`, in the detector's order.

        Those count whose best word fits by more than `threshold`. Red and blue are exchanged for the detector, as in
        Fooocus, so that it finds the same.
        """
        device = self.module.device
        tokens = tokenizer().encode(caption(words)).ids[:MOST_TOKENS]
        found = self.module(
            pixel_values=pixel_values(image[:, :, ::-1]).to(device), input_ids=torch.tensor([tokens], device=device)
        )
        fits = found.logits[0].sigmoid().amax(dim=-1) > threshold
        height, width = image.shape[:2]
        return corners(found.pred_boxes[0, fits].cpu() * torch.tensor([width, height, width, height]))


def caption(words: str) -> str:
    """What to look for as the detector reads it."""
    plain = words.lower().strip()
    return plain if plain.endswith(".") else f"{plain}."


def corners(boxes: Tensor) -> Tensor:
    """Boxes `[n, 4]` of centre and size as their left, top, right and bottom."""
    centre, size = boxes[:, :2], boxes[:, 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=1)


def pixel_values(image: Pixels) -> Tensor:
    """The picture at the detector's size and normalised, `[1, 3, h, w]`."""
    scaled = Image.fromarray(np.ascontiguousarray(image)).resize(
        scaled_size(*image.shape[:2]), Image.Resampling.BILINEAR
    )
    colours = torch.from_numpy(np.array(scaled)).float() / 255
    return ((colours - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).permute(2, 0, 1)[None]


def scaled_size(height: int, width: int) -> tuple[int, int]:
    """Width and height of a picture for the detector."""
    short, long = min(height, width), max(height, width)
    side = SHORTER
    if long / short * side > LONGER:
        side = round(LONGER * short / long)
    other = int(side * long / short)
    return (side, other) if width < height else (other, side)


def library_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors under the library's names, with those that the library has more.

    Raises:
        KeyError: the file is of something else.
    """
    weights = dict(_library_weights(tensors))
    deepest = weights["model.backbone.conv_encoder.model.hidden_states_norms.stage4.weight"].shape[0]
    return weights | {f"{FINAL_NORM}weight": torch.ones(deepest), f"{FINAL_NORM}bias": torch.zeros(deepest)}


def _library_weights(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        name = name.removeprefix("module.")  # from being trained on several GPUs
        if name.startswith(UNUSED) or name.endswith(".relative_position_index"):
            continue
        name = renamed(name, NAMES)
        fused = next((mark for mark in FUSED if mark in name), None)
        if fused is None:
            yield name, tensor
            continue
        for part, third in zip(FUSED[fused], tensor.chunk(3), strict=True):
            yield name.replace(fused, part), third


def detector_config(weights: Mapping[str, Tensor]) -> GroundingDinoConfig:
    """The settings of the detector with these weights; heads and points, which no weight tells, are the authors'.

    Raises:
        KeyError: one that tells them is not there.
    """
    from transformers import GroundingDinoConfig

    levels, width = weights["model.level_embed"].shape
    return GroundingDinoConfig(
        backbone_config=_swin_config(weights),
        text_config={"model_type": "bert", **bert_sizes(weights, "model.text_backbone.")},
        d_model=width,
        num_feature_levels=levels,
        num_queries=weights["model.query_position_embeddings.weight"].shape[0],
        encoder_layers=layers_below(weights, "model.encoder.layers."),
        encoder_ffn_dim=weights["model.encoder.layers.0.deformable_layer.fc1.weight"].shape[0],
        decoder_layers=layers_below(weights, "model.decoder.layers."),
        decoder_ffn_dim=weights["model.decoder.layers.0.fc1.weight"].shape[0],
    )


def _swin_config(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    stages = [
        f"{SWIN}encoder.layers.{stage}.blocks." for stage in range(layers_below(weights, f"{SWIN}encoder.layers."))
    ]
    bias = "0.attention.relative_position_bias.relative_position_bias_table"
    return {
        "model_type": "swin",
        "embed_dim": weights[f"{SWIN}embeddings.patch_embeddings.projection.weight"].shape[0],
        "depths": [layers_below(weights, stage) for stage in stages],
        "num_heads": [weights[f"{stage}{bias}"].shape[1] for stage in stages],
        "window_size": (math.isqrt(weights[f"{stages[0]}{bias}"].shape[0]) + 1) // 2,
        "out_indices": [2, 3, 4],
    }
