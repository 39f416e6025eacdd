"""Model files that machines of the fleet have: with this server's own they are what requests may name.

One that only such a machine has comes here before it is drawn with, as a download does, from that machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from flask import Flask

from engine.files.known_files import KnownFile
from fooocus_flask.extension import Extension

SCHEME = "fleet:"
"""How the addresses of these files begin; they name no machine."""
Place = tuple[str, str]


class ComingFile(Protocol):
    """A file on its way to this place, and who hears of it."""

    file: KnownFile
    target: Path

    def hear(self, done: int) -> None:
        """So many bytes are here."""

    def end(self, outcome: Exception | None) -> None:
        """All are, or it does not come for this reason."""


class FleetFiles:
    """Those of one application's fleet, as its cards told; `fetch` has one come here."""

    def __init__(self, app: Flask) -> None:
        self._by_card: dict[str, Mapping[str, Mapping[str, int]]] = {}
        self.fetch: Callable[[ComingFile], object] | None = None

    def tell(self, card: str, files: Mapping[str, Mapping[str, int]]) -> None:
        """Take what a card's machine has: the bytes of each file by kind and name."""
        self._by_card[card] = files

    def forget(self, card: str) -> None:
        """The card is gone."""
        self._by_card.pop(card, None)

    def known(self) -> dict[Place, KnownFile]:
        """All of them, with the addresses that have them come from the fleet."""
        return {
            (kind, name): KnownFile(kind, name, f"{SCHEME}{kind}/{name}", size)
            for files in self._by_card.values()
            for kind, names in files.items()
            for name, size in names.items()
        }

    def names(self) -> dict[str, list[str]]:
        """Their names by kind, in order."""
        found: dict[str, set[str]] = {}
        for kind, name in self.known():
            found.setdefault(kind, set()).add(name)
        return {kind: sorted(names, key=str.casefold) for kind, names in found.items()}

    def cards(self, file: KnownFile) -> list[str]:
        """The cards whose machines have this very file."""
        return [card for card, files in self._by_card.items() if files.get(file.kind, {}).get(file.name) == file.size]


fleet_files = Extension("fooocus-fleet-files", FleetFiles)


def comes_from_fleet(file: KnownFile) -> bool:
    """Whether a machine of the fleet is to give this file."""
    return file.url.startswith(SCHEME)
