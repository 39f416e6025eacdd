"""Model files on their way from a machine to the head: through Ray, part after part, from where the last try ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import ray

from engine.files.hashes import file_hash
from engine.fleet.file_sender import AHEAD, CHUNK, PATIENCE, TELL_EVERY
from engine.fleet.file_store import TransferError

PART = ".fleet-part"


def receive(actor: Any, place: tuple[str, str], size: int, target: Path, tell: Callable[[int], object]) -> None:
    """Copy the file of this kind and name, and of so many bytes, from a card's machine to `target`, or none of it.

    `tell` hears now and then how many bytes are there.

    Raises:
        TransferError: the file is gone there, or did not come as it is there.
        OSError: the head cannot write it.
        RayError: the card is gone.
    """
    part = target.with_name(target.name + PART)
    target.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as stream:
        there, told = min(stream.tell(), size), 0.0
        stream.truncate(there)
        asked = deque(
            (actor.read.remote(*place, at, CHUNK)) for at in range(there, min(there + AHEAD * CHUNK, size), CHUNK)
        )
        while asked:
            data = ray.get(asked.popleft(), timeout=PATIENCE)
            if (ahead := there + (len(asked) + 1) * CHUNK) < size:
                asked.append(actor.read.remote(*place, ahead, CHUNK))
            there += stream.write(data)
            if monotonic() - told >= TELL_EVERY:
                told = monotonic()
                tell(there)
    if there != size or file_hash(part) != ray.get(actor.own_hash.remote(*place)):
        part.unlink()
        raise TransferError(f"{place[1]} did not come whole from the machine that has it; send the request again")
    part.replace(target)
