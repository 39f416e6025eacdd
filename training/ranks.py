"""One training run over several GPUs: one process a GPU, gradients averaged, the clock of the first counts.

Started by `torchrun --nproc-per-node N -m …`; without it, a run of one process.
"""

import os

import torch
import torch.distributed as dist
from torch import Tensor


class Ranks:
    """This process's number among how many, and its device."""

    def __init__(self) -> None:
        self.rank, self.count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        on_gpu = torch.cuda.is_available()
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if on_gpu else torch.device("cpu")
        if on_gpu:
            torch.cuda.set_device(self.device)
        if self.count > 1:
            dist.init_process_group("nccl" if on_gpu else "gloo")

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def average(self, numbers: Tensor) -> None:
        """Replace the tensor by its mean over all processes."""
        if self.count > 1:
            dist.all_reduce(numbers)
            numbers.div_(self.count)

    def agreed(self, *numbers: float) -> list[float]:
        """What the first process says, so that all take the same steps."""
        if self.count == 1:
            return list(numbers)
        told = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.broadcast(told, 0)
        return told.tolist()

    def close(self) -> None:
        """Leave the group."""
        if self.count > 1:
            dist.destroy_process_group()


def flat_like(weights: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """One zeroed vector, and views of it with the weights' shapes and strides."""
    flat = torch.zeros(sum(weight.numel() for weight in weights), device=weights[0].device)
    views, at = [], 0
    for weight in weights:
        views.append(torch.as_strided(flat, weight.shape, weight.stride(), at))
        at += weight.numel()
    return flat, views
