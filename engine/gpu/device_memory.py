"""A device's memory, whoever made it: how much there is, how much is free, and giving back what torch keeps unused."""

from __future__ import annotations

from typing import Any

import torch

METERED = ("cuda", "xpu")
"""Devices with memory of their own, whose free bytes can be asked for."""


def free_bytes(device: torch.device) -> int | None:
    """Bytes that are free, other programs counted; None where the host's memory is used, or nobody says."""
    if device.type not in METERED:
        return None
    module: Any = torch.get_device_module(device)
    try:
        return int(module.mem_get_info(device)[0])
    except RuntimeError:  # some of Intel's drivers do not say
        return int(module.get_device_properties(device).total_memory - module.memory_reserved(device))


def unused_memory(device: torch.device) -> int:
    """Bytes that torch holds of a device with memory of its own, and has no tensors in."""
    module: Any = torch.get_device_module(device)
    return int(module.memory_reserved(device) - module.memory_allocated(device))


def total_memory(device: torch.device) -> int | None:
    """Bytes that a device can have; None for a processor, and where nobody says."""
    if device.type in METERED:
        return int(torch.get_device_module(device).get_device_properties(device).total_memory)
    return int(torch.mps.recommended_max_memory()) if device.type == "mps" else None


def give_back(device: torch.device) -> None:
    """Have torch keep no memory of the device that is unused."""
    if device.type in (*METERED, "mps"):
        torch.get_device_module(device).empty_cache()
