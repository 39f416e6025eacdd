"""The pictures that a request brings, in the folder where the service keeps them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from engine.images import reading
from engine.images.codecs import Mask, Pixels
from engine.images.resize import rgb


class InputPictures:
    """The input pictures in a folder; a request's members name them by the paths of their URLs."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def picture(self, reference: str) -> Pixels:
        """The picture in RGB, transparency on white.

        Raises:
            UnreadablePicture: it is damaged.
            FileNotFoundError: it is gone.
        """
        return rgb(reading.read(self._path(reference)))

    def mask(self, reference: str) -> Mask:
        """The picture as a mask; raises what `picture` does."""
        return reading.read_mask(self._path(reference))

    def _path(self, reference: str) -> Path:
        path = self.folder / PurePosixPath(reference).name
        if not path.is_file():
            raise FileNotFoundError(f"the input picture {path.name} is gone")
        return path
