"""Small pictures of results: made when first asked for, kept as long as the result is, here or in a bucket."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from flask import Flask
from gevent.event import Event
from werkzeug.security import safe_join

from engine.images import codecs
from fooocus_flask.errors import FooocusError, NotFound
from fooocus_flask.extension import Extension
from fooocus_flask.pictures import converting
from fooocus_flask.pictures.blocking import in_thread, put, remove, used
from schemas.files import THUMBNAIL_WIDTHS

FOLDER = "thumbnails"


class Thumbnails:
    """Those of one application, `folder/WIDTH/DAY/NAME.png.webp`; each has its picture's time of change."""

    def __init__(self, app: Flask) -> None:
        self.folder = Path(app.instance_path) / FOLDER
        self._pictures = Path(app.config["OUTPUT_PATH"])
        self._under_way: dict[Path, Event] = {}

    def path(self, below: str, width: int) -> Path:
        """Where the one of a picture lies or would lie, which is called so below the outputs folder."""
        return self.folder / str(width) / f"{below}.webp"

    def have(self, picture: Path, below: str, width: int) -> Path:
        """The file of this picture's thumbnail, made unless it is there; however many ask at once, it is made once.

        Raises:
            NotFound: the picture was deleted meanwhile.
            FooocusError: it is no picture, or the disk takes nothing.
        """
        path = self.path(below, width)
        try:
            while not in_thread(is_of, path, picture):
                if others := self._under_way.get(path):
                    others.wait()
                else:
                    self._make(picture, path, width)
                    break
        except FileNotFoundError as error:
            raise NotFound("There is no such picture") from error
        return path

    def kept(self, below: str, width: int) -> Path | None:
        """The one of a picture that is elsewhere, if it was made here; it was used now."""
        joined = safe_join(str(self.folder / str(width)), f"{below}.webp") if "\0" not in below else None
        return Path(joined) if joined and in_thread(used, Path(joined)) else None

    def _make(self, picture: Path, path: Path, width: int) -> None:
        self._under_way[path] = done = Event()
        try:
            in_thread(keep, path, self._small(picture, width), picture)
        finally:
            del self._under_way[path]
            done.set()

    def _small(self, picture: Path, width: int) -> bytes:
        try:
            return converting.converted(lambda source, _: codecs.thumbnail(source, width), picture, "webp")
        except FileNotFoundError:
            raise
        except codecs.DAMAGED as error:
            text = "The picture cannot be made smaller, for it is damaged. Delete its task, or retry it"
            raise FooocusError(text) from error

    def remove(self, below: Iterable[str]) -> None:
        """Delete those of these pictures, which are gone already: one that is being made now goes too."""
        for path in [self.path(name, width) for name in below for width in THUMBNAIL_WIDTHS]:
            with suppress(OSError):  # what stays is swept
                path.unlink()

    def sweep(self) -> int:
        """Delete those whose pictures were deleted by somebody else; how many."""
        orphans = []
        for width in THUMBNAIL_WIDTHS:
            folder = self.folder / str(width)
            names = (path.relative_to(folder).with_suffix("") for path in folder.glob("*/*.webp"))
            orphans += [folder / f"{name}.webp" for name in names if not (self._pictures / name).exists()]
        return remove(orphans)

    def trim(self, most_bytes: int) -> int:
        """Delete those that were not used for longest until the others fit; how many."""
        stats = []
        for path in self.folder.glob("*/*/*.webp"):
            with suppress(FileNotFoundError):  # its picture was deleted just now
                stats.append((path.stat(), path))
        left, unused = sum(file.st_size for file, _ in stats), []
        for file, path in sorted(stats, key=lambda found: found[0].st_atime):
            if left <= most_bytes:
                break
            left -= file.st_size
            unused.append(path)
        return remove(unused)


thumbnails = Extension("fooocus-thumbnails", Thumbnails)


def is_of(path: Path, picture: Path) -> bool:
    """Whether the thumbnail is there, and the picture's own: another one may have got its name; if so, it was used now.

    Raises:
        FileNotFoundError: there is no such picture.
    """
    changed = int(picture.stat().st_mtime)
    try:
        return int(path.stat().st_mtime) == changed and used(path)
    except OSError:  # `keep` tells what is wrong there
        return False


def keep(path: Path, data: bytes, picture: Path) -> None:
    """Write a thumbnail, unless its picture is gone by then.

    Raises:
        FileNotFoundError: it is.
        FooocusError: the disk takes nothing.
    """
    changed = picture.stat().st_mtime_ns
    try:
        put(path, data)
        os.utime(path, ns=(time.time_ns(), changed))
    except OSError as error:
        text = f"The thumbnail cannot be kept: {error.strerror}. Ask for the picture without w, or free some space"
        raise FooocusError(text, status=507) from error
    if not picture.exists():
        path.unlink(missing_ok=True)
        raise FileNotFoundError(picture)
