"""What a picture shows, in words that can be a prompt."""

from __future__ import annotations

from engine import needs
from engine.images.codecs import Pixels
from engine.models.captioner import Captioner
from engine.models.tagger import Tagger, Tags
from engine.store import Store

KIND = "clip_vision"
"""The kind of folder that holds the files."""


def describe(store: Store, picture: Pixels, kind: str) -> str:
    """A sentence about a picture `[h, w, 3]` of the kind `Photo`, tags of one of the kind `Anime`.

    Raises:
        CheckpointError: a model file is not there or cannot be used.
        ValueError: there is no such kind.
    """
    if kind == "Anime":
        tags = store.kept(KIND, needs.TAGS, Tags.load)
        return tags.fitting(store.kept(KIND, needs.TAGGER, Tagger.load).scores(picture))
    if kind == "Photo":
        return store.kept(KIND, needs.CAPTIONER, Captioner.load).caption(picture)
    raise ValueError(f"pictures cannot be described as {kind!r}")
