"""The nets of the built-in model in the sizes it is trained with, and their weights as a single-file SDXL checkpoint.

Group norms: the loader takes gcd(32, all widths) groups, so widths are chosen to leave 4 or more channels in a group
(one channel a group would wipe out every plain colour): 40 makes 8 groups in the UNet, 84 makes 4 in the VAE.
"""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from engine.models import eight_bit, weight_names
from engine.models.unet import norm_groups
from training.tokens import END

WIDTH_L, WIDTH_G, LAYERS, POSITIONS = 64, 128, 3, 77
UNET_WIDTHS, VAE_WIDTHS = (40, 64, 128, 192), (16, 32, 64, 84)
LATENT_SCALE = 0.13025
VAE_MARGIN = 6
"""Latent pixels beyond the edge that the VAE works with: zeros there leave a frame 30 pixels wide (the engine has it
from the manifest)."""


class Attention(nn.Module):
    """CLIP's causal self-attention, 64 channels a head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 64
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, width] to the same."""
        q, k, v = (
            p(x).unflatten(-1, (self.heads, 64)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """CLIP's two-layer perceptron; `quick` is sigmoid(1.702 x) gating, else the exact GELU."""

    def __init__(self, width: int, quick: bool) -> None:
        super().__init__()
        self.fc1, self.fc2, self.quick = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), quick

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, width] to the same."""
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x) if self.quick else F.gelu(x))


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, quick: bool) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(width), Mlp(width, quick)
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, width] to the same."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class TextEncoder(nn.Module):
    """A CLIP text model with a frozen token table; names follow transformers' so that it exports by renaming."""

    def __init__(self, table: Tensor, quick: bool, projected: bool) -> None:
        super().__init__()
        width = table.shape[1]
        self.register_buffer("table", table, persistent=False)
        self.position_embedding = nn.Parameter(torch.randn(POSITIONS, width) * 0.03)
        self.layers = nn.ModuleList(Layer(width, quick) for _ in range(LAYERS))
        self.final_layer_norm = nn.LayerNorm(width)
        self.text_projection = nn.Linear(width, width, bias=False) if projected else None
        for layer in self.layers:
            nn.init.normal_(
                layer.self_attn.out_proj.weight, std=0.02 if projected or layer is not self.layers[-1] else 0.0
            )
            nn.init.normal_(layer.mlp.fc2.weight, std=0.02 if projected or layer is not self.layers[-1] else 0.0)

    def forward(self, ids: Tensor, skip: int = 2) -> tuple[Tensor, Tensor | None]:
        """Hidden states `-skip` of rows of ids [n,77], and the pooled projection [n,width] at the first end token."""
        x = self.table[ids] + self.position_embedding
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1]))
        if self.text_projection is None:
            return states[-skip], None
        end = (ids == END).int().argmax(1)
        last = states[-1].gather(1, end[:, None, None].expand(-1, 1, x.shape[-1]))[:, 0]
        return states[-skip], self.text_projection(self.final_layer_norm(last))

    def exported(self) -> dict[str, Tensor]:
        """Weights under transformers' names."""
        weights = {k: v.detach().float().cpu() for k, v in self.state_dict().items()}
        named = {"text_model.embeddings.token_embedding.weight": self.table.float().cpu()}
        named["text_model.embeddings.position_embedding.weight"] = weights.pop("position_embedding")
        for name, weight in weights.items():
            prefix = (
                "text_model.encoder."
                if name.startswith("layers.")
                else ""
                if name.startswith("text_projection")
                else "text_model."
            )
            named[prefix + name] = weight
        return named


class Conditioner(nn.Module):
    """Both encoders: k texts a sample to one context and one summed pooled vector, as the engine feeds them."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.clip_l = TextEncoder(table[:, :WIDTH_L].contiguous(), quick=True, projected=False)
        self.clip_g = TextEncoder(table, quick=False, projected=True)

    def forward(self, rows: Tensor, skip: int = 2) -> tuple[Tensor, Tensor]:
        """Rows [n,k,77] (padded with the end token) to context [n, 77k, 192] and pooled [n, 128]."""
        n, k, _ = rows.shape
        flat, place = rows.reshape(n * k, -1).long(), torch.arange(POSITIONS, device=rows.device)
        end = (flat == END).int().argmax(1, keepdim=True)
        left, _ = self.clip_l(flat, skip)
        right, pooled = self.clip_g(flat.masked_fill(place[None] > end, 0), skip)
        context = torch.cat([left, right], -1).reshape(n, k * POSITIONS, WIDTH_L + WIDTH_G)
        return context, pooled.reshape(n, k, -1).sum(1)


def new_unet(widths: tuple[int, ...] = UNET_WIDTHS) -> UNet2DConditionModel:
    """An untrained UNet."""
    return UNet2DConditionModel(
        in_channels=4, out_channels=4, block_out_channels=widths, layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=1, cross_attention_dim=WIDTH_L + WIDTH_G, attention_head_dim=tuple(max(1, w // 64) for w in widths),  # noqa: E501
        norm_num_groups=norm_groups(widths), time_embedding_dim=256, addition_embed_type="text_time", addition_time_embed_dim=256,  # noqa: E501
        projection_class_embeddings_input_dim=WIDTH_G + 6 * 256, use_linear_projection=True,
    )  # fmt: skip


def new_vae(widths: tuple[int, ...] = VAE_WIDTHS) -> AutoencoderKL:
    """An untrained VAE."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, block_out_channels=widths, layers_per_block=1, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=norm_groups(widths), mid_block_add_attention=False, scaling_factor=LATENT_SCALE,
    )  # fmt: skip


@torch.no_grad()
def fold_latent_scale(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Change a VAE in place so that its latent times SDXL's 0.13025 has mean 0 and spread 1 in each channel."""
    factor = 1 / (std * LATENT_SCALE)
    conv, mean, count = vae.quant_conv, mean.to(vae.quant_conv.bias), len(mean)
    factor = factor.to(conv.bias)
    conv.bias[:count].sub_(mean).mul_(factor)
    conv.weight[:count].mul_(factor[:, None, None, None])
    conv.bias[count:].add_(2 * factor.log())
    back = vae.post_quant_conv
    back.bias.add_((back.weight[:, :, 0, 0] * mean).sum(1))
    back.weight.div_(factor[None, :, None, None])


def single_file(unet: UNet2DConditionModel, vae: AutoencoderKL, conditioner: Conditioner) -> dict[str, Tensor]:
    """All weights under the names of an SDXL checkpoint, fp32 on the CPU."""
    on_cpu = [{k: v.detach().float().cpu() for k, v in net.state_dict().items()} for net in (unet, vae)]
    return weight_names.checkpoint_of(*on_cpu, conditioner.clip_l.exported(), conditioner.clip_g.exported())


def resumed(path) -> tuple[UNet2DConditionModel, AutoencoderKL, Conditioner]:
    """The nets of a packed checkpoint written by a former run, with its token table, fp32 on the CPU."""
    tensors = {name: tensor.float() for name, tensor in eight_bit.unpack(path).items()}
    parts = {
        prefix: {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        for prefix in (weight_names.UNET, weight_names.VAE, weight_names.CLIP_L, weight_names.CLIP_G)
    }
    unet, vae, conditioner = new_unet(), new_vae(), Conditioner(tensors[eight_bit.TABLE_G])
    unet.load_state_dict(weight_names.unet_from_ldm(parts[weight_names.UNET]))
    vae.load_state_dict(weight_names.vae_from_ldm(parts[weight_names.VAE]))
    clip_g = {
        n.removeprefix("text_model."): t
        for n, t in weight_names.clip_g_from_openclip(parts[weight_names.CLIP_G]).items()
    }
    for encoder, part in ((conditioner.clip_l, parts[weight_names.CLIP_L]), (conditioner.clip_g, clip_g)):
        named = {n.removeprefix("encoder."): t for n, t in part.items() if "token_embedding" not in n}
        named["position_embedding"] = named.pop("embeddings.position_embedding.weight")
        encoder.load_state_dict(named)
    return unet, vae, conditioner


def read_table(path, device: torch.device) -> Tensor:
    """The frozen token table [49408, 128] from token_table.npz; tokens that are no whole words get seeded noise."""
    import numpy as np

    stored = np.load(path)
    rows = np.random.default_rng(7).normal(0, 28, (49408, stored["rows"].shape[1]))
    rows[stored["ids"].astype(int)] = stored["rows"]
    codes = np.clip(np.round(rows), -127, 127).astype(np.float32)
    return torch.from_numpy(codes * stored["scale"]).to(device)
