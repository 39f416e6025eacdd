"""Failures that mean that a GPU's memory is full, whoever found out."""

from __future__ import annotations

import torch

LIBRARIES_WORDS = (
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "CUDA error: out of memory"),
    *("HIPBLAS_STATUS_ALLOC_FAILED", "HIP error: out of memory", "MPS backend out of memory"),
)
"""How CUDA's libraries say so, AMD's and Apple's, in errors of no kind of their own."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether it was the GPU's memory that was too small."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in LIBRARIES_WORDS)
