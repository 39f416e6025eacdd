"""Failures of tasks: why, in words for the client; and the memory that one leaves behind."""

from __future__ import annotations

import gc

from engine.errors import TooLittleMemory, is_disk_full


def reason(error: Exception) -> str:
    """Why a task failed, for the client to read."""
    from engine.gpu.out_of_memory import is_out_of_memory

    if isinstance(error, TooLittleMemory):
        return str(error)
    if isinstance(error, RuntimeError) and is_out_of_memory(error):
        return "The GPU ran out of memory; a smaller picture or fewer other programs on this GPU would help"
    if cause(error) == "memory":
        return "The engine ran out of memory; a smaller picture would help"
    if is_disk_full(error):
        return "The disk is full: free some space, for instance by deleting old tasks, then send the request again"
    text = str(error) or repr(error)
    return text if isinstance(error, ValueError | ArithmeticError) else f"{type(error).__name__}: {text}"


def cause(error: Exception) -> str:
    """Of what kind a failure is, in the words of `Ended`."""
    from engine.gpu.out_of_memory import is_out_of_memory

    full = isinstance(error, RuntimeError) and is_out_of_memory(error)
    if full or isinstance(error, MemoryError) or "allocate memory" in str(error):
        return "memory"
    if is_disk_full(error):
        return "space"
    return "missing" if isinstance(error, FileNotFoundError) else "engine"


def free_memory() -> None:
    """Give back what a task that ran out of memory held, so that the next one has it."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
