"""Requests to look at a picture: its model files had first, then the engine asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.files import builtin_set
from engine.messages import Seen
from engine.required_files import Need, description_needs
from fooocus_flask.model_files import addresses
from fooocus_flask.model_files.checkout import checkout
from fooocus_flask.pictures import sent_pictures
from fooocus_flask.runner.downloader import downloader
from fooocus_flask.runner.runner import runner
from fooocus_flask.submission.prepare import catalogue
from fooocus_flask.submission.required_files import require_files


def describe(arguments: Mapping[str, Any], kind: str) -> Seen:
    """What the member `image` shows, as a sentence (Photo) or tags (Anime).

    Without the model files for it, the built-in set's own tags come, in the same form, where our own engine draws.
    """
    shipped = checkout.current() is None and builtin_set.describes() and not addresses.sources_for().allowed
    return inspect("describe", {"kind": kind}, arguments, () if shipped else description_needs(kind))


def inspect(purpose: str, options: Mapping[str, Any], arguments: Mapping[str, Any], needs: Iterable[Need]) -> Seen:
    """What the engine sees in the member `image`, once the model files are here."""
    awaited = require_files(arguments, needs, catalogue(), addresses.sources_for())
    picture = sent_pictures.given(arguments["image"], "image")
    downloader.current().have(awaited)
    return runner.current().inspect(purpose, options, picture)
