"""SDXL's two text encoders: texts to the context and the pooled vector a UNet is conditioned on."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from engine.errors import CheckpointError
from engine.files.identity import identity
from engine.gpu.upcast import compute_in
from engine.log_lines import plain
from engine.models.clip_text import ClipTextModel, ClipTextSizes
from engine.models.fill import fill, unfilled
from engine.models.recorded_texts import RecordedTexts
from engine.models.unet import heads
from engine.models.weight_names import clip_g_from_openclip
from engine.prompt.embeddings import Embeddings
from engine.prompt.tokens import (
    CHUNK,
    EMBEDDING,
    END,
    PAD_G,
    PAD_L,
    Chunk,
    Lookup,
    Tokenizer,
    bare_name,
    embedding_names,
    empty_chunk,
)
from engine.sampling.conditioning import Conditioning

log = logging.getLogger(__name__)

MOST_CACHED_CHUNKS = 256
MOST_NOTES, LONGEST_SHOWN = 8, 100
"""Embeddings of a prompt that are told of one by one, and characters of a name."""
AT_ONCE = 16
"""Chunks that go through an encoder together: a long text's states of all layers would fill the memory."""

Check = Callable[[], object]
"""Called between two pieces of work; it raises where the task is to end."""


def nothing() -> None:
    """The check that never ends anything."""


class Encoder:
    """One CLIP text model, with its weights in fp16 and its arithmetic in fp32; `name` is its key in files."""

    def __init__(self, name: str, module: ClipTextModel, pad: int) -> None:
        self.name, self.module, self.pad = name, module, pad
        self.layers, self.width = module.sizes.layers, module.sizes.width
        self.recorded = RecordedTexts(module)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.module.parameters()).device

    @torch.inference_mode()
    def states(self, chunks: Sequence[Chunk], clip_skip: int, check: Check = nothing) -> tuple[Tensor, Tensor | None]:
        """The chunks' hidden states, emphasised, `[chunks, 77, width]`, and the first chunk's pooled vector if any."""
        found = []
        for first in range(0, len(chunks), AT_ONCE):
            check()
            found.append(self._states(chunks[first : first + AT_ONCE], clip_skip))
        return torch.cat([hidden for hidden, _ in found]), found[0][1]

    def _states(self, chunks: Sequence[Chunk], clip_skip: int) -> tuple[Tensor, Tensor | None]:
        neutral = empty_chunk(self.pad)
        emphasised = any(weight != 1.0 for chunk in chunks for weight in chunk.weights)
        batch = [*chunks, neutral] if emphasised else list(chunks)
        ids = torch.tensor([chunk.ids for chunk in batch], device=self.device)
        if any(chunk.vectors for chunk in batch):
            output = self.module(ids, lambda embedded: _standing_in(embedded, batch))
        else:
            output = self.recorded(ids)
        hidden = output.final if clip_skip > self.layers else output.states[-clip_skip]
        hidden, pooled = hidden.clone(), output.pooled  # what is recorded is written again
        if emphasised:
            hidden = torch.stack(
                [_emphasised(state, hidden[-1], chunk) for state, chunk in zip(hidden[:-1], chunks, strict=True)]
            )
        return hidden, None if pooled is None else pooled[:1].clone()


def _standing_in(embedded: Tensor, chunks: Sequence[Chunk]) -> Tensor:
    """The vectors `[chunks, 77, width]` of the chunks' ids, with the chunks' own where they have any."""
    placed = [(row, place, vector) for row, chunk in enumerate(chunks) for place, vector in chunk.vectors.items()]
    rows, places = [row for row, _, _ in placed], [place for _, place, _ in placed]
    embedded = embedded.clone()
    embedded[rows, places] = torch.stack([vector for _, _, vector in placed]).to(embedded)
    return embedded


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

    def __init__(self, clip_l: ClipTextModel, clip_g: ClipTextModel) -> None:
        self.clip_l, self.clip_g = Encoder("clip_l", clip_l, PAD_L), Encoder("clip_g", clip_g, PAD_G)
        self.tokenizer = Tokenizer()
        self.rounded = True
        """Whether merged LoRAs are rounded to fp16."""
        self.embeddings = Embeddings(())
        """What `embedding:name` in a text may mean; to be replaced as folders are known."""
        self.state: Hashable = ()
        """Which patches its weights are under; texts are remembered for each state."""
        self._known: OrderedDict[tuple[str, int, Hashable, Hashable], Conditioning] = OrderedDict()

    @classmethod
    def load(
        cls,
        clip_l: Mapping[str, Tensor],
        clip_g: Mapping[str, Tensor],
        device: torch.device,
        storage: torch.dtype = torch.float16,
        *,
        carried: bool = False,
    ) -> TextEncoders:
        """Both encoders from a checkpoint's tensors, without prefixes: HF names for L, OpenCLIP names for G.

        Weights are stored in fp16, or in fp32, which rounds none. `carried` is as for `fill`.

        Raises:
            CheckpointError: weights are missing or of another shape.
        """
        left, right = (
            {name: _stored(name, tensor, storage) for name, tensor in tensors.items()} for tensors in (clip_l, clip_g)
        )
        encoders = cls(_load_clip_l(left, device, carried), _load_clip_g(right, device, carried))
        encoders.rounded = storage == torch.float16
        return encoders

    @property
    def pooled_width(self) -> int:
        """The width of the pooled vector."""
        width = self.clip_g.module.sizes.projection
        assert width is not None
        return width

    def forget_recorded(self) -> None:
        """Drop recorded calls, which hold memory."""
        for part in (self.clip_l, self.clip_g):
            part.recorded.forget()

    @torch.inference_mode()
    def final_norm_l(self, states: Tensor) -> Tensor:
        """CLIP-L's last layer norm over states `[…, width]`, which SD 1.5 was trained to read; fp32, on the CPU."""
        part = self.clip_l
        return part.module.final_layer_norm(states.to(part.device)).float().cpu()

    def encode(self, texts: Sequence[str], top_k: int, clip_skip: int, check: Check = nothing) -> Conditioning:
        """The texts' contexts one after the other, and the sum of the first `top_k` pooled vectors.

        `check` is called between texts, and between the parts of a long one.
        """
        known = [self._of_text(text, clip_skip, check) for text in texts]
        pooled = torch.stack([conditioning.pooled for conditioning in known[:top_k]]).sum(dim=0)
        return Conditioning(torch.cat([conditioning.context for conditioning in known], dim=1), pooled)

    def count_tokens(self, text: str) -> int:
        """How many tokens CLIP-L reads of a text, without those that begin, end and fill up a chunk."""
        return sum(len(tokens) for tokens, _ in self.tokenizer.groups(text, self._lookup(self.clip_l)))

    def embedding_notes(self, texts: Iterable[str]) -> list[str]:
        """What the client should know of the embeddings these texts name: those that are ignored, in all or in part."""
        notes: list[str] = []
        for name in dict.fromkeys(name for text in texts for name in embedding_names(text)):
            path = self._embedding(name)
            if path is None:
                shown = plain(bare_name(name)[:LONGEST_SHOWN])
                notes.append(f"There is no embedding called {shown}; it is ignored")
                continue
            for encoder in (self.clip_l, self.clip_g):
                try:
                    self.embeddings.vectors(path, encoder.name, encoder.width)
                except CheckpointError as error:
                    notes.append(f"{error}; it is ignored there")
        notes = list(dict.fromkeys(notes))
        if (more := len(notes) - MOST_NOTES) > 0:
            notes[MOST_NOTES:] = [f"{more} more embeddings are not there or do not fit; they are ignored"]
        for note in notes:
            log.warning("%s", note)
        return notes

    def _embedding(self, name: str) -> Path | None:
        """The file of an embedding as a text spells it, with the commas around it."""
        return self.embeddings.find(name) or self.embeddings.find(bare_name(name))

    def _of_text(self, text: str, clip_skip: int, check: Check = nothing) -> Conditioning:
        named = embedding_names(text) if EMBEDDING in text else ()
        files = tuple(identity(path) for path in map(self._embedding, named) if path)
        key = (text, clip_skip, self.state, files)
        if key not in self._known:
            check()
            self._known[key] = self._encoded(text, clip_skip, check)
        self._known.move_to_end(key)
        found = self._known[key]
        while len(self._known) > 1 and sum(map(_chunks_in, self._known.values())) > MOST_CACHED_CHUNKS:
            self._known.popitem(last=False)
        return found

    def _encoded(self, text: str, clip_skip: int, check: Check) -> Conditioning:
        left, right = self._chunks(text, self.clip_l), self._chunks(text, self.clip_g)
        # An embedding that only one encoder reads may cost that one a chunk more.
        left += [empty_chunk(PAD_L)] * (len(right) - len(left))
        right += [empty_chunk(PAD_G)] * (len(left) - len(right))
        states_l, _ = self.clip_l.states(left, clip_skip, check)
        states_g, pooled = self.clip_g.states(right, clip_skip, check)
        assert pooled is not None
        context = torch.cat([states_l, states_g], dim=-1).flatten(0, 1)[None]
        return Conditioning(context.float().cpu(), pooled.float().cpu())

    def _chunks(self, text: str, encoder: Encoder) -> list[Chunk]:
        return self.tokenizer.chunks(text, encoder.pad, self._lookup(encoder))

    def _lookup(self, encoder: Encoder) -> Lookup:
        """What `embedding:name` in a text means to an encoder."""

        def lookup(name: str) -> Sequence[Tensor] | None:
            path = self.embeddings.find(name)
            if path is None:
                return None
            try:
                return list(self.embeddings.vectors(path, encoder.name, encoder.width))
            except CheckpointError:  # as the notes say
                return ()

        return lookup


def _chunks_in(conditioning: Conditioning) -> int:
    return conditioning.context.shape[1] // CHUNK


def clip_sizes(tensors: Mapping[str, Tensor], activation: str) -> ClipTextSizes:
    """The sizes of a text transformer with these weights.

    Raises:
        CheckpointError: no text encoder.
    """
    embedding = tensors.get("embeddings.token_embedding.weight")
    if embedding is None or "encoder.layers.0.mlp.fc1.weight" not in tensors:
        raise CheckpointError("it lacks one of SDXL's two text encoders; a complete single-file checkpoint is needed")
    layers = 0
    while f"encoder.layers.{layers}.mlp.fc1.weight" in tensors:
        layers += 1
    return ClipTextSizes(
        vocabulary=embedding.shape[0],
        places=tensors["embeddings.position_embedding.weight"].shape[0],
        width=embedding.shape[1],
        heads=heads(embedding.shape[1]),
        layers=layers,
        inner=tensors["encoder.layers.0.mlp.fc1.weight"].shape[0],
        activation=activation,
        end=END,
    )


def _stored(name: str, tensor: Tensor, storage: torch.dtype) -> Tensor:
    """A weight in what it is stored in.

    Where that is fp16, embeddings and the projection, which are never rounded, are in fp32 if not in fp16.
    """
    return tensor.to(_format(name, tensor, storage))


def _format(name: str, tensor: Tensor, storage: torch.dtype) -> torch.dtype:
    rounded = "embedding" not in name and "text_projection" not in name
    halved = storage == torch.float16 and (rounded or tensor.dtype == torch.float16)
    return torch.float16 if halved else torch.float32


def stored_size(tensors: Mapping[str, Tensor], storage: torch.dtype) -> int:
    """Bytes that a text encoder with these weights takes where they are stored so."""
    return sum(tensor.numel() * _format(name, tensor, storage).itemsize for name, tensor in tensors.items())


def _load_clip_l(tensors: Mapping[str, Tensor], device: torch.device, carried: bool) -> ClipTextModel:
    tensors = {name: tensor for name, tensor in tensors.items() if name != "embeddings.position_ids"}
    return _filled(clip_sizes(tensors, "quick_gelu"), tensors, device, "the CLIP-L text encoder", carried)


def _load_clip_g(tensors: Mapping[str, Tensor], device: torch.device, carried: bool) -> ClipTextModel:
    renamed = {name.removeprefix("text_model."): tensor for name, tensor in clip_g_from_openclip(tensors).items()}
    sizes = clip_sizes(renamed, "gelu")
    if "text_projection.weight" not in renamed:
        raise CheckpointError("its CLIP-G text encoder has no text_projection")
    sizes = replace(sizes, projection=renamed["text_projection.weight"].shape[0])
    return _filled(sizes, renamed, device, "the CLIP-G text encoder", carried)


def _filled(
    sizes: ClipTextSizes, tensors: Mapping[str, Tensor], device: torch.device, what: str, carried: bool
) -> ClipTextModel:
    """The model with these weights, which computes in fp32."""
    with unfilled():
        module = ClipTextModel(sizes)
    compute_in(module, torch.float32)
    filled: ClipTextModel = fill(module, tensors, device, None, what, carried=carried)
    return filled
