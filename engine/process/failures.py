"""Failures of tasks: why, in words for the client; and the memory that one leaves behind."""

from __future__ import annotations

import gc

from engine.errors import TooLittleMemory, is_disk_full, is_memory_full

PACKAGE = "engine."


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
    if is_ours(error):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"The engine could not read or write a file: {error.strerror}"
    return f"The engine failed in a way that nobody foresaw ({type(error).__name__}); the server's log says more"


def is_ours(error: Exception) -> bool:
    """Whether the engine's own code wrote the text: a library's may hold paths of this machine, and helps no client."""
    if type(error).__module__.startswith(PACKAGE):
        return True
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    raised_here = last is not None and str(last.tb_frame.f_globals.get("__name__")).startswith(PACKAGE)
    told = isinstance(error, ValueError | ArithmeticError) or (isinstance(error, OSError) and error.errno is None)
    return raised_here and told


def cause(error: Exception) -> str:
    """Of what kind a failure is, in the words of `Ended`."""
    from engine.gpu.out_of_memory import is_out_of_memory

    full = isinstance(error, RuntimeError) and is_out_of_memory(error)
    if full or is_memory_full(error):
        return "memory"
    if is_disk_full(error):
        return "space"
    return "missing" if isinstance(error, FileNotFoundError) else "engine"


def free_memory() -> None:
    """Give back what a task that ran out of memory held, so that the next one has it."""
    from engine.gpu.capabilities import chosen_device
    from engine.gpu.device_memory import give_back

    gc.collect()
    give_back(chosen_device())
