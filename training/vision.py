"""A small CLIP vision tower with a tag head; names follow transformers' so that the engine loads it by its loader."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.detectors.clip_vision import DEVIATION, MEAN
from training.models import Attention, Layer

WIDTH, LAYERS, PATCH, SIDE = 192, 6, 16, 224


class SeeingAttention(Attention):
    """Self-attention over all patches."""

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, width] to the same."""
        q, k, v = (
            p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Tower(nn.Module):
    """Pictures [n,3,224,224] in 0..1 to the states before the last layer and to one projected vector each."""

    def __init__(self, width: int = WIDTH, layers: int = LAYERS) -> None:
        super().__init__()
        places = (SIDE // PATCH) ** 2 + 1
        self.class_embedding = nn.Parameter(0.02 * torch.randn(width))
        self.patch_embedding = nn.Conv2d(3, width, PATCH, PATCH, bias=False)
        self.position_embedding = nn.Parameter(0.02 * torch.randn(places, width))
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.layers = nn.ModuleList(Layer(width, quick=False) for _ in range(layers))
        for layer in self.layers:
            layer.self_attn = SeeingAttention(width)
            for last in (layer.self_attn.out_proj, layer.mlp.fc2):
                nn.init.normal_(last.weight, std=0.02 / (2 * layers) ** 0.5)
        self.projection = nn.Linear(width, width, bias=False)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The patches' states [n,197,width] that image prompts are made from, and the vectors [n,width] of tags."""
        x = self.patch_embedding((pictures - self.mean) / self.deviation).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.position_embedding
        x = self.before(x)
        for layer in self.layers[:-1]:
            x = layer(x)
        return x, self.projection(self.after(self.layers[-1](x)[:, 0]))

    def exported(self) -> dict[str, Tensor]:
        """Weights under the names of `CLIPVisionModelWithProjection`."""
        return {published(name): weight.detach().float().cpu() for name, weight in self.state_dict().items()}

    def take(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `exported`."""
        self.load_state_dict({name: tensors[published(name)].float() for name in self.state_dict()})


def published(name: str) -> str:
    """A weight's name in transformers' model."""
    first, _, rest = name.partition(".")
    if first == "projection":
        return f"visual_projection.{rest}"
    places = {
        "class_embedding": "embeddings.class_embedding",
        "patch_embedding": f"embeddings.patch_embedding.{rest}",
        "position_embedding": "embeddings.position_embedding.weight",
        "before": f"pre_layrnorm.{rest}",
        "after": f"post_layernorm.{rest}",
        "layers": f"encoder.layers.{rest}",
    }
    return f"vision_model.{places[first]}"


def roughened(pictures: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Pictures [n,3,h,w] in 0..1 stretched, moved, mirrored, softened and lit a little differently."""
    n, device = len(pictures), pictures.device

    def even(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *size, device=device, generator=generator)

    size, stretch = even(0.75, 1.15), even(-0.18, 0.18)
    mirror = torch.where(even(0, 1) < 0.3, -1.0, 1.0)
    matrix = torch.zeros(n, 2, 3, device=device)
    matrix[:, 0, 0], matrix[:, 1, 1] = mirror * size * stretch.exp(), size * (-stretch).exp()
    matrix[:, :, 2] = even(-0.08, 0.08, 2)
    grid = F.affine_grid(matrix, list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    coarse = F.interpolate(moved, scale_factor=0.5, mode="area")
    soft = F.interpolate(coarse, size=moved.shape[-2:], mode="bilinear", align_corners=False)
    moved = torch.lerp(moved, soft, even(-0.2, 1.0, 1, 1, 1).clamp_min(0))
    lit = moved * even(0.88, 1.12, 1, 1, 1) + even(-0.05, 0.05, 1, 1, 1)
    grain = torch.randn(lit.shape, device=device, generator=generator)
    return (lit + 0.04 * even(0, 1, 1, 1, 1) * grain).clamp(0, 1)
