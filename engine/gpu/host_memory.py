"""The host's memory for weights that are off the GPU: pinned as far as the machine has room, else the page cache."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

log = logging.getLogger(__name__)

PAGE = 4096
SPARE = 3 << 30
"""Bytes of the machine's memory that weights never take: what is mapped from files lies there, and can be dropped."""
NO_LIMIT = 1 << 62
CACHES = {"memory": ("total_inactive_file", "total_active_file"), "": ("inactive_file", "active_file")}
"""What a control group's memory.stat calls the file pages that it can drop: in version 1, and in version 2."""
LIMITS = {"memory": ("memory.limit_in_bytes", "memory.usage_in_bytes"), "": ("memory.max", "memory.current")}


class HostMemory:
    """Memory of the host for weights, pinned if `pin`: what is pinned travels faster. `spare` bytes are left free."""

    def __init__(self, *, pin: bool, spare: int = SPARE) -> None:
        self.pin, self.spare = pin, spare

    def has_room(self, size: int) -> bool:
        """Whether so many bytes can be taken and enough is left for everything else."""
        return available_host_memory() - size > self.spare

    def take(self, size: int) -> Tensor:
        """So many bytes, uint8; pinned only where there is room."""
        pin = self.pin and size > 0 and self.has_room(size)
        whole = torch.empty(size + 2 * PAGE, dtype=torch.uint8)
        first = -whole.data_ptr() % PAGE
        taken = whole[first : first + size]
        if pin:
            # Pinned in place: torch's own pinned memory comes in powers of two.
            place, length = taken.data_ptr(), -(-size // PAGE) * PAGE
            if int(torch.cuda.cudart().cudaHostRegister(place, length, 0)) == 0:
                weakref.finalize(taken, _unpin, place, whole)
            else:
                self.pin = False
                log.warning("weights on the host are not pinned from here on; they travel more slowly")
        return taken


def _unpin(place: int, _memory: Tensor) -> None:
    """Let pages go before their memory, which is given along, is given back."""
    torch.cuda.cudart().cudaHostUnregister(place)


class MappedFile:
    """Where a file lies in this process's memory, mapped: its pages are the machine's to drop and read again."""

    def __init__(self, path: Path, maps: Path = Path("/proc/self/maps")) -> None:
        self._ranges = list(_ranges(path, maps))

    def holds(self, storage: torch.UntypedStorage) -> bool:
        """Whether a storage is a piece of the file."""
        place = storage.data_ptr()
        return storage.device.type == "cpu" and any(start <= place < end for start, end in self._ranges)


def _ranges(path: Path, maps: Path) -> Iterator[tuple[int, int]]:
    """First and last address of each mapping of a file; none where nobody says."""
    try:
        lines, inode = maps.read_text("utf-8", "replace").splitlines(), path.stat().st_ino
    except OSError:
        return
    for line in lines:
        fields = line.split(maxsplit=5)
        if fields[4] == str(inode) and Path(fields[-1]).name == path.resolve().name:
            first, _, last = fields[0].partition("-")
            yield int(first, 16), int(last, 16)


def available_host_memory(root: Path = Path("/")) -> int:
    """Bytes of the host's memory that are free or can be freed, for this process: a container may have less of it.

    Much where nobody says.
    """
    try:
        lines = (root / "proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return NO_LIMIT
    free = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), NO_LIMIT)
    return min(free, *_left_to_groups(root), NO_LIMIT)


def _left_to_groups(root: Path) -> Iterator[int]:
    """What the control groups leave that limit this process's memory."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers not in LIMITS:
            continue
        top = root / "sys/fs/cgroup" / controllers
        group = top / place.lstrip("/")
        for folder in (group, *group.parents):
            yield from _left(folder, controllers)
            if folder == top:
                break


def _left(folder: Path, controllers: str) -> Iterator[int]:
    """What one group leaves, if it limits anything: inside a container its place may be another one's."""
    limit, usage = (folder / name for name in LIMITS[controllers])
    try:
        most, used = limit.read_text().strip(), int(usage.read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return
    if most.isdigit() and int(most) < NO_LIMIT:
        yield int(most) - used + sum(int(stat.get(name, 0)) for name in CACHES[controllers])
