"""Model files that come to this server from machines of the fleet, as its driver tells of them."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask

from engine.files.downloads import DownloadError
from engine.fleet.frames import BringFile, FileBrought
from engine.interruption import Stopped
from engine.messages import Message
from fooocus_flask.model_files.fleet_files import ComingFile, fleet_files


class ComingFiles:
    """Those of one application; `send` tells a card something, and raises OSError where the driver is gone."""

    def __init__(self, app: Flask, send: Callable[[str, Message], None]) -> None:
        self._send, self._files = send, fleet_files.of(app)
        self._files.fetch = self._begin
        self._coming: dict[tuple[str, str], tuple[str, ComingFile]] = {}
        """By kind and name, each with the card whose machine gives it."""

    def _begin(self, transfer: ComingFile) -> None:
        """Have a file come from the machine of a card that has it."""
        file = transfer.file
        card = self._files.cards(file)[0]
        self._coming[file.place] = card, transfer
        try:
            self._send(card, BringFile(*file.place, file.size or 0, str(transfer.target)))
        except OSError:  # the driver is gone, and will tell of its cards when another is there
            self.lose(card)

    def hear(self, message: FileBrought) -> None:
        """Hand on how far a file is."""
        _, transfer = self._coming.get((message.model_kind, message.name), ("", None))
        if transfer is None:  # nobody waits for it any more
            return
        transfer.hear(message.done)
        if message.over:
            del self._coming[transfer.file.place]
            transfer.end(DownloadError(message.error) if message.error else None)

    def lose(self, card: str) -> None:
        """Take note that a card is gone: whoever waits for a file of its machine's has it come from another one."""
        self._files.forget(card)
        for place, (giver, transfer) in list(self._coming.items()):
            if giver == card:
                del self._coming[place]
                transfer.end(Stopped())
