"""SDXL's two text encoders: texts to the context and the pooled vector a UNet is conditioned on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.models.filling import CheckpointError, fill
from engine.models.keys import clip_g_from_openclip
from engine.models.unet import heads
from engine.prompt.tokens import END, PAD_G, PAD_L, START, Chunk, Tokenizer

MOST_CACHED_TEXTS = 256


@dataclass(frozen=True)
class Conditioning:
    """What a UNet is told: `context` `[1, 77·chunks, width]` and `pooled` `[1, pooled width]`, fp32 on the CPU."""

    context: Tensor
    pooled: Tensor


class Encoder:
    """One CLIP text model, with its weights rounded to fp16 and its arithmetic in fp32."""

    def __init__(self, module: Any, pad: int) -> None:
        self.module, self.pad = module, pad
        self.layers: int = module.config.num_hidden_layers
        self.width: int = module.config.hidden_size
        self.device = next(module.parameters()).device

    @torch.inference_mode()
    def states(self, chunks: Sequence[Chunk], clip_skip: int) -> tuple[Tensor, Tensor | None]:
        """The chunks' hidden states, emphasised, `[chunks, 77, width]`, and the first chunk's pooled vector if any."""
        neutral = Chunk([START, END, *[self.pad] * 75], [1.0] * 77)
        emphasised = any(weight != 1.0 for chunk in chunks for weight in chunk.weights)
        batch = [*chunks, neutral] if emphasised else list(chunks)
        ids = torch.tensor([chunk.ids for chunk in batch], device=self.device)
        output = self.module(input_ids=ids, output_hidden_states=True)
        hidden = output.last_hidden_state if clip_skip > self.layers else output.hidden_states[-clip_skip]
        pooled = getattr(output, "text_embeds", None)
        if emphasised:
            hidden = torch.stack(
                [_emphasised(state, hidden[-1], chunk) for state, chunk in zip(hidden[:-1], chunks, strict=True)]
            )
        return hidden, None if pooled is None else pooled[:1]


def _emphasised(state: Tensor, neutral: Tensor, chunk: Chunk) -> Tensor:
    """A chunk's states moved away from (or towards) the neutral ones by the tokens' weights, its mean kept."""
    weights = torch.tensor(chunk.weights, device=state.device)[:, None]
    if bool((weights == 1.0).all()):
        return state
    moved = torch.where(weights == 1.0, state, (state - neutral) * weights + neutral)
    factor = state.mean() / moved.mean()
    return moved * factor if bool(factor.isfinite()) else moved


class TextEncoders:
    """Both encoders and a memory of what they have encoded."""

    def __init__(self, clip_l: CLIPTextModel, clip_g: CLIPTextModelWithProjection) -> None:
        self.clip_l, self.clip_g = Encoder(clip_l, PAD_L), Encoder(clip_g, PAD_G)
        self.tokenizer = Tokenizer()
        self.state: Hashable = ()
        """Which patches its weights are under; texts are remembered for each state."""
        self._known: OrderedDict[tuple[str, int, Hashable], Conditioning] = OrderedDict()

    @classmethod
    def load(cls, clip_l: Mapping[str, Tensor], clip_g: Mapping[str, Tensor], device: torch.device) -> TextEncoders:
        """Both encoders from a checkpoint's tensors, without prefixes: HF names for L, OpenCLIP names for G.

        Raises:
            CheckpointError: weights are missing or of another shape.
        """
        return cls(_load_clip_l(clip_l, device), _load_clip_g(clip_g, device))

    @property
    def pooled_width(self) -> int:
        """The width of the pooled vector."""
        return int(self.clip_g.module.config.projection_dim)

    @torch.inference_mode()
    def final_norm_l(self, states: Tensor) -> Tensor:
        """CLIP-L's last layer norm over states `[…, width]`, which SD 1.5 was trained to read; fp32, on the CPU."""
        part = self.clip_l
        norm = getattr(part.module, "text_model", part.module).final_layer_norm
        return norm(states.to(part.device)).float().cpu()

    def encode(self, texts: Sequence[str], top_k: int, clip_skip: int) -> Conditioning:
        """The texts' contexts one after the other, and the sum of the first `top_k` pooled vectors."""
        known = [self._of_text(text, clip_skip) for text in texts]
        pooled = torch.stack([conditioning.pooled for conditioning in known[:top_k]]).sum(dim=0)
        return Conditioning(torch.cat([conditioning.context for conditioning in known], dim=1), pooled)

    def _of_text(self, text: str, clip_skip: int) -> Conditioning:
        key = (text, clip_skip, self.state)
        if key not in self._known:
            self._known[key] = self._encoded(text, clip_skip)
            if len(self._known) > MOST_CACHED_TEXTS:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _encoded(self, text: str, clip_skip: int) -> Conditioning:
        states_l, _ = self.clip_l.states(self.tokenizer.chunks(text, PAD_L), clip_skip)
        states_g, pooled = self.clip_g.states(self.tokenizer.chunks(text, PAD_G), clip_skip)
        assert pooled is not None
        context = torch.cat([states_l, states_g], dim=-1).flatten(0, 1)[None]
        return Conditioning(context.float().cpu(), pooled.float().cpu())


def clip_config(tensors: Mapping[str, Tensor], activation: str) -> dict[str, Any]:
    """The settings of `CLIPTextConfig` for weights under transformers names without `text_model.`.

    Raises:
        CheckpointError: no text encoder.
    """
    embedding = tensors.get("embeddings.token_embedding.weight")
    if embedding is None or "encoder.layers.0.mlp.fc1.weight" not in tensors:
        raise CheckpointError("it lacks one of SDXL's two text encoders; a complete single-file checkpoint is needed")
    layers = 0
    while f"encoder.layers.{layers}.mlp.fc1.weight" in tensors:
        layers += 1
    return {
        "vocab_size": embedding.shape[0],
        "hidden_size": embedding.shape[1],
        "num_attention_heads": heads(embedding.shape[1]),
        "num_hidden_layers": layers,
        "intermediate_size": tensors["encoder.layers.0.mlp.fc1.weight"].shape[0],
        "max_position_embeddings": tensors["embeddings.position_embedding.weight"].shape[0],
        "hidden_act": activation,
        "layer_norm_eps": 1e-5,
        "bos_token_id": START,
        "eos_token_id": END,
        "pad_token_id": END,
    }


def _rounded(name: str, tensor: Tensor) -> Tensor:
    """Transformer weights as fp16 holds them; embeddings and the projection as they are."""
    return tensor if "embedding" in name or "text_projection" in name else tensor.half()


def _load_clip_l(tensors: Mapping[str, Tensor], device: torch.device) -> CLIPTextModel:
    tensors = {name: tensor for name, tensor in tensors.items() if name != "embeddings.position_ids"}
    config = CLIPTextConfig(**clip_config(tensors, "quick_gelu"))
    with torch.device("meta"):
        module = CLIPTextModel(config)
    named = {name: _rounded(name, tensor) for name, tensor in tensors.items()}
    if next(iter(module.state_dict())).startswith("text_model."):
        named = {f"text_model.{name}": tensor for name, tensor in named.items()}
    return fill(module, named, device, torch.float32, "the CLIP-L text encoder")


def _load_clip_g(tensors: Mapping[str, Tensor], device: torch.device) -> CLIPTextModelWithProjection:
    renamed = clip_g_from_openclip(tensors)
    bare = {name.removeprefix("text_model."): tensor for name, tensor in renamed.items()}
    settings = clip_config(bare, "gelu")
    if "text_projection.weight" not in renamed:
        raise CheckpointError("its CLIP-G text encoder has no text_projection")
    config = CLIPTextConfig(**settings, projection_dim=renamed["text_projection.weight"].shape[0])
    with torch.device("meta"):
        module = CLIPTextModelWithProjection(config)
    named = {name: _rounded(name, tensor) for name, tensor in renamed.items()}
    return fill(module, named, device, torch.float32, "the CLIP-G text encoder")
