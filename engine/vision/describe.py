"""Descriptions of pictures, in words that can be a prompt."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from engine import required_files
from engine.detectors.captioner import Captioner
from engine.detectors.clip_vision import ClipVision
from engine.detectors.tag_head import TagHead
from engine.detectors.tagger import Tagger, Tags
from engine.files import builtin_set
from engine.images.codecs import Pixels
from engine.model_store import ModelStore
from engine.vision.tag_words import sentence, tag_list

log = logging.getLogger(__name__)

KIND = "clip_vision"
"""The kind of folder that holds the files."""


@dataclass(frozen=True)
class Description:
    """A description, and the file of the model that gave it."""

    text: str
    model: str


def describe(store: ModelStore, picture: Pixels, kind: str) -> Description:
    """A sentence about a picture `[h, w, 3]` of the kind `Photo`, tags of one of the kind `Anime`.

    Where the kind's own model files are not all installed, the words are the built-in set's tags.

    Raises:
        CheckpointError: a model file is missing or cannot be used.
        ValueError: there is no such kind.
    """
    if kind not in ("Photo", "Anime"):
        raise ValueError(f"pictures cannot be described as {kind!r}")
    installed = all(store.catalogue.find(need.kind, need.name) for need in required_files.description_needs(kind))
    if not installed and builtin_set.describes():
        found = _by_shipped(store, picture, kind)
    else:
        found = _by_installed(store, picture, kind)
    log.info("a picture is described by %s", found.model)
    return found


def _by_installed(store: ModelStore, picture: Pixels, kind: str) -> Description:
    if kind == "Photo":
        return Description(
            store.load_named(KIND, required_files.CAPTIONER, Captioner.load).caption(picture), required_files.CAPTIONER
        )
    tags = store.load_named(KIND, required_files.TAGS, Tags.load)
    scores = store.load_named(KIND, required_files.TAGGER, Tagger.load).scores(picture)
    return Description(tags.fitting(scores), required_files.TAGGER)


def _by_shipped(store: ModelStore, picture: Pixels, kind: str) -> Description:
    encoder = store.load(builtin_set.IMAGE_ENCODER, ClipVision.load)
    head = store.load(builtin_set.TAG_HEAD, TagHead.load)
    tags = head.tags(encoder.features(picture).whole)
    say = sentence if kind == "Photo" else tag_list
    return Description(say(tags, head.coloured), builtin_set.TAG_HEAD.name)
