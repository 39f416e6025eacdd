"""What a picture shows, in words that can be a prompt."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from engine import required_files
from engine.detectors.captioner import Captioner
from engine.detectors.tagger import Tagger, Tags
from engine.files import builtin_set
from engine.images.codecs import Pixels
from engine.model_store import Store
from engine.vision.tag_words import sentence, tag_list

log = logging.getLogger(__name__)

KIND = "clip_vision"
"""The kind of folder that holds the files."""


@dataclass(frozen=True)
class Description:
    """The words, and the file of the model that found them."""

    text: str
    model: str


def describe(store: Store, picture: Pixels, kind: str) -> Description:
    """A sentence about a picture `[h, w, 3]` of the kind `Photo`, tags of one of the kind `Anime`.

    Where the kind's own model files are not all there, the built-in set's tags are said in its place.

    Raises:
        CheckpointError: a model file is not there or cannot be used.
        ValueError: there is no such kind.
    """
    if kind not in ("Photo", "Anime"):
        raise ValueError(f"pictures cannot be described as {kind!r}")
    own = all(store.catalogue.find(need.kind, need.name) for need in required_files.description_needs(kind))
    if not own and builtin_set.there(*builtin_set.DESCRIBING):
        found = _by_builtin(store, picture, kind)
    else:
        found = _by_files(store, picture, kind)
    log.info("a picture is described by %s", found.model)
    return found


def _by_files(store: Store, picture: Pixels, kind: str) -> Description:
    if kind == "Photo":
        return Description(
            store.kept(KIND, required_files.CAPTIONER, Captioner.load).caption(picture), required_files.CAPTIONER
        )
    tags = store.kept(KIND, required_files.TAGS, Tags.load)
    scores = store.kept(KIND, required_files.TAGGER, Tagger.load).scores(picture)
    return Description(tags.fitting(scores), required_files.TAGGER)


def _by_builtin(store: Store, picture: Pixels, kind: str) -> Description:
    tower, head = store.clip_vision(builtin=True), store.tag_head()
    tags = head.tags(tower.features(picture).whole)
    say = sentence if kind == "Photo" else tag_list
    return Description(say(tags, head.coloured), builtin_set.TAG_HEAD.name)
