"""The capture of CUDA graphs in a process whose other threads use the GPU too."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch


def capture(graph: torch.cuda.CUDAGraph, pool: Any = None) -> AbstractContextManager[None]:
    """Record in `graph` what this thread launches inside, its intermediate results in the memory `pool` or its own.

    Other threads go on using the GPU meanwhile: they load weights, decode pictures, copy previews to the CPU.
    """
    return torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local")
