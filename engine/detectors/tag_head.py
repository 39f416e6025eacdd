"""The built-in set's tag head: what an image encoder sees in a picture, one tag of each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from engine.errors import CheckpointError
from engine.models.checkpoint import read_tensors
from engine.models.eight_bit import is_packed, manifest


@dataclass(frozen=True)
class LikelyTag:
    """A group's likeliest tag, and its share of the group's probability."""

    tag: str
    share: float


class TagHead:
    """A linear map from an encoder's vector of a whole picture to all tags, one softmax a group, in fp32.

    `groups` holds the tags of each group in the order of the outputs; `coloured` are objects that colours are told of.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, groups: Mapping[str, Sequence[str]], coloured: Sequence[str]
    ) -> None:
        self.weight, self.bias = weight, bias
        self.groups, self.coloured = dict(groups), frozenset(coloured)
        self.size = weight.nbytes + bias.nbytes

    @classmethod
    def load(cls, path: Path, device: torch.device) -> TagHead:
        """The head in `path`, a packed file whose manifest names the tags.

        Raises:
            CheckpointError: the file is not there or is no tag head.
        """
        tensors = read_tensors(path)
        about: Mapping[str, Any] = manifest(path) if is_packed(path) else {}
        groups, weight, bias = about.get("groups"), tensors.get("weight"), tensors.get("bias")
        if not groups or weight is None or bias is None:
            raise CheckpointError(f"{path.name}: no tag head (it needs weight, bias and the groups of its tags)")
        tags = sum(len(group) for group in groups.values())
        if not len(weight) == len(bias) == tags:
            raise CheckpointError(f"{path.name}: {len(weight)} outputs and {tags} tags")
        return cls(weight.float().to(device), bias.float().to(device), groups, about.get("coloured", ()))

    @torch.inference_mode()
    def tags(self, whole: Tensor) -> dict[str, LikelyTag]:
        """The likeliest tag of each group for the vector `[1, width]` of a picture.

        Raises:
            CheckpointError: the vector is another encoder's.
        """
        if whole.shape[-1] != self.weight.shape[1]:
            raise CheckpointError(f"the tag head reads vectors {self.weight.shape[1]} wide, not {whole.shape[-1]}")
        outputs = linear(whole[0].float(), self.weight, self.bias).split([len(tags) for tags in self.groups.values()])
        found = {}
        for (group, tags), part in zip(self.groups.items(), outputs, strict=True):
            share, at = part.softmax(0).max(0)
            found[group] = LikelyTag(tags[int(at)], float(share))
        return found
