"""Segment Anything: the outline of what stands in a box (Kirillov et al. 2023, arXiv 2304.02643)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from engine.errors import CheckpointError
from engine.images.codecs import Mask, Pixels
from engine.models.checkpoint import read_tensors
from engine.models.fill import fill, unfilled, weights_size
from engine.models.renaming import layers_below, renamed

if TYPE_CHECKING:
    from transformers import SamConfig

MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of colours up to 255."""
BOXES_AT_ONCE = 8
SMALLEST_HOLE = 400
"""Pixels; smaller holes are filled."""
POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
SHARED = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")
NAMES = (
    (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    (r"^image_encoder\.blocks\.(\d+)\.norm([12])\.", r"vision_encoder.layers.\1.layer_norm\2."),
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^image_encoder\.", "vision_encoder."),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"^prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"^mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.0\.", r"\1.proj_in."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.2\.", r"\1.proj_out."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.1\.", r"\1.layers.0."),
)
"""SAM's names in the library's."""


class Sam:
    """SAM on its device, in fp32."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.side: int = module.config.vision_config.image_size
        self.size = weights_size(module)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Sam:
        """The model in `path`, of any size, under the names of SAM's own files.

        Raises:
            CheckpointError: the file is not there or is no SAM.
        """
        from transformers import SamModel

        tensors = read_tensors(path)
        try:
            weights = {renamed(name, NAMES): tensor for name, tensor in tensors.items() if name != POSITIONS}
            weights |= dict.fromkeys(SHARED, tensors[POSITIONS])
            with unfilled():
                module = SamModel(sam_config(weights))
            return cls(fill(module, weights, device, torch.float32, "SAM"))
        except (CheckpointError, KeyError) as error:
            raise CheckpointError(f"{path.name} cannot be used as a SAM model: {error.args[0]}") from error

    def masks(self, image: Pixels, boxes: Tensor) -> Iterator[Mask]:
        """What is in each of the `boxes` `[n, 4]` (left, top, right, bottom in pixels) of a picture `[h, w, 3]`."""
        scaled = scaled_to(image, self.side)
        height, width = image.shape[:2]
        ratio = torch.tensor([scaled.shape[1] / width, scaled.shape[0] / height] * 2)
        with torch.inference_mode():
            seen = self.module.get_image_embeddings(pixel_values(scaled, self.side).to(self.module.device))
            for some in (boxes.float() * ratio).split(BOXES_AT_ONCE):
                wanted = {"input_boxes": some[None].to(self.module.device), "multimask_output": False}
                found = self.module(image_embeddings=seen, **wanted).pred_masks[0]
                for mask in full_size(found, scaled.shape[:2], (height, width), self.side):
                    yield without_holes(mask)


def scaled_to(image: Pixels, side: int) -> Pixels:
    """The picture with its longer side at `side` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def pixel_values(scaled: Pixels, side: int) -> Tensor:
    """A picture at its size for SAM, normalised, with zeros to the right or below; `[1, 3, side, side]`."""
    values = (torch.from_numpy(scaled).float() - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    height, width = scaled.shape[:2]
    return pad(values.permute(2, 0, 1), (0, side - width, 0, side - height))[None]


def full_size(found: Tensor, scaled: tuple[int, ...], size: tuple[int, int], side: int) -> list[Mask]:
    """SAM's small masks `[n, 1, h, w]` at the picture's size: 255 where they are above 0."""
    square = interpolate(found.float(), (side, side), mode="bilinear", align_corners=False)
    whole = interpolate(square[..., : scaled[0], : scaled[1]], size, mode="bilinear", align_corners=False)
    return list(((whole[:, 0] > 0).to(torch.uint8) * 255).cpu().numpy())


def without_holes(mask: Mask) -> Mask:
    """A mask of 0 and 255 with its small holes filled; pixels that touch by a corner are one hole."""
    _, regions, stats, _ = cv2.connectedComponentsWithStats((mask == 0).astype(np.uint8), connectivity=8)
    small = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < SMALLEST_HOLE)
    return np.where(np.isin(regions, small[small > 0]), 255, mask).astype(np.uint8)


def sam_config(weights: Mapping[str, Tensor]) -> SamConfig:
    """The settings of the model with these weights.

    Raises:
        KeyError: one that tells them is not there.
    """
    from transformers import SamConfig

    patches, positions = weights["vision_encoder.patch_embed.projection.weight"], weights["vision_encoder.pos_embed"]
    width, patch, grid = patches.shape[0], patches.shape[-1], positions.shape[1]
    layers = layers_below(weights, "vision_encoder.layers.")
    reaches = [(weights[f"vision_encoder.layers.{n}.attn.rel_pos_h"].shape[0] + 1) // 2 for n in range(layers)]
    prompt_width = weights["mask_decoder.iou_token.weight"].shape[1]
    vision = {
        "hidden_size": width,
        "output_channels": weights["vision_encoder.neck.conv1.weight"].shape[0],
        "num_hidden_layers": layers,
        "num_attention_heads": width // weights["vision_encoder.layers.0.attn.rel_pos_h"].shape[1],
        "image_size": grid * patch,
        "patch_size": patch,
        "mlp_dim": weights["vision_encoder.layers.0.mlp.lin1.weight"].shape[0],
        "window_size": min(reaches),
        "global_attn_indexes": [number for number, reach in enumerate(reaches) if reach == grid],
        "num_pos_feats": weights[SHARED[0]].shape[1],
    }
    prompt = {
        "hidden_size": prompt_width,
        "image_size": grid * patch,
        "patch_size": patch,
        "mask_input_channels": weights["prompt_encoder.mask_embed.conv2.weight"].shape[0],
    }
    decoder = {
        "hidden_size": prompt_width,
        "mlp_dim": weights["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
        "num_hidden_layers": layers_below(weights, "mask_decoder.transformer.layers."),
        "iou_head_hidden_dim": weights["mask_decoder.iou_prediction_head.proj_in.weight"].shape[0],
        "layer_norm_eps": 1e-5,
    }
    return SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
