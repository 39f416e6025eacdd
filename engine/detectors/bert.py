"""The sizes of a BERT, as its weights tell them: the captioner writes with one, Grounding DINO reads with one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from engine.models.renaming import layers_below

HEAD = 64
"""Width of an attention head."""


def bert_sizes(weights: Mapping[str, Tensor], prefix: str) -> dict[str, int]:
    """The sizes, under the names of the library's settings, of the BERT whose weights' names begin with `prefix`.

    Raises:
        KeyError: a weight that tells one is not there.
    """
    embeddings, layers = f"{prefix}embeddings.", f"{prefix}encoder.layer."
    words, width = weights[f"{embeddings}word_embeddings.weight"].shape
    return {
        "vocab_size": words,
        "hidden_size": width,
        "num_hidden_layers": layers_below(weights, layers),
        "num_attention_heads": max(1, width // HEAD),
        "intermediate_size": weights[f"{layers}0.intermediate.dense.weight"].shape[0],
        "max_position_embeddings": weights[f"{embeddings}position_embeddings.weight"].shape[0],
    }
