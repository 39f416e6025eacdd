"""Where model files can be had that are not there: as the operator's presets and `config.txt` say, else where we know.

A request chooses among these addresses by naming a file or a preset; it never brings one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from flask import current_app

from engine.files.known_files import FILES, KnownFile, by_name, mirrored
from fooocus_flask.model_files import presets
from fooocus_flask.model_files.fleet_files import comes_from_fleet, fleet_files


@dataclass(frozen=True)
class Sources:
    """The addresses for one request: machines of the `fleet` go before what is `listed`, and that before those we know.

    `allowed` says whether anything is fetched from elsewhere than the fleet.
    """

    listed: Mapping[tuple[str, str], KnownFile]
    mirror: str
    allowed: bool
    fleet: Mapping[tuple[str, str], KnownFile] = field(default_factory=dict)

    def allows(self, file: KnownFile) -> bool:
        """Whether this file is fetched."""
        return self.allowed or comes_from_fleet(file)

    def find(self, kind: str, name: str) -> KnownFile | None:
        """The file with its address, or None."""
        name = name.replace("\\", "/")
        file = self.fleet.get((kind, name)) or self.listed.get((kind, name)) or by_name(kind, name)
        return file and self._mirrored(file)

    def lora(self, stem: str, *, but: str | None) -> KnownFile | None:
        """The LoRA that a prompt's tag means by its file's stem, or None; never the one called `but`."""
        loras = (
            file
            for file in (*self.fleet.values(), *self.listed.values(), *FILES)
            if file.kind == "loras" and file.name != but
        )
        file = next((file for file in loras if PurePosixPath(file.name).stem == stem), None)
        return file and self._mirrored(file)

    def embeddings(self) -> Iterator[KnownFile]:
        """The textual inversions that presets bring: prompts name them, so nothing else tells that they are needed."""
        return (self._mirrored(file) for file in self.listed.values() if file.kind == "embeddings")

    def _mirrored(self, file: KnownFile) -> KnownFile:
        return replace(file, url=mirrored(file.url, self.mirror))


def sources_for(preset: str = presets.INITIAL) -> Sources:
    """The addresses for a request with this preset.

    Raises:
        PresetError: the preset is unknown or unusable.
    """
    files = [*presets.standing_downloads(), *presets.downloads(preset)]
    config = current_app.config
    listed = {file.place: file for file in files}
    allowed = bool(config.get("ALLOW_DOWNLOADS"))
    return Sources(listed, config.get("HF_MIRROR", ""), allowed, fleet_files.current().known())
