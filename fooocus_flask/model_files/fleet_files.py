"""Model files that machines of the fleet have: with this server's own they are what requests may name.

One that only such a machine has comes here before it is drawn with, as a download does, from that machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
        self._known: Mapping[Place, KnownFile] | None = {}
        self._names: Mapping[str, Sequence[str]] = {}
        """Both are made again when they are asked for after a change: each request asks, and cards tell seldom."""
        self.fetch: Callable[[ComingFile], object] | None = None

    def tell(self, card: str, files: Mapping[str, Mapping[str, int]]) -> None:
        """Take what a card's machine has: the bytes of each file by kind and name."""
        if self._by_card.get(card) != files:
            self._by_card[card] = files
            self._known = None

    def forget(self, card: str) -> None:
        """The card is gone."""
        if self._by_card.pop(card, None) is not None:
            self._known = None

    def known(self) -> Mapping[Place, KnownFile]:
        """All of them, with the addresses that have them come from the fleet."""
        if self._known is None:
            sizes = {
                (kind, name): size
                for files in self._by_card.values()
                for kind, names in files.items()
                for name, size in names.items()
            }
            self._known = {
                (kind, name): KnownFile(kind, name, f"{SCHEME}{kind}/{name}", size)
                for (kind, name), size in sizes.items()
            }
            self._names = names_by_kind(self._known)
        return self._known

    def names(self) -> Mapping[str, Sequence[str]]:
        """Their names by kind, in order."""
        self.known()
        return self._names

    def cards(self, file: KnownFile) -> list[str]:
        """The cards whose machines have this very file."""
        return [card for card, files in self._by_card.items() if files.get(file.kind, {}).get(file.name) == file.size]


fleet_files = Extension("fooocus-fleet-files", FleetFiles)


def names_by_kind(places: Iterable[Place]) -> dict[str, list[str]]:
    """The names of each kind, whatever their case in order."""
    found: dict[str, list[str]] = {}
    for kind, name in sorted(places, key=lambda place: (place[1].casefold(), place[1])):
        found.setdefault(kind, []).append(name)
    return found


def comes_from_fleet(file: KnownFile) -> bool:
    """Whether a machine of the fleet is to give this file."""
    return file.url.startswith(SCHEME)
