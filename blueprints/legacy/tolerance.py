"""Names that this server does not know: left out or replaced by the default, as the predecessor did, with a note."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine import choices
from engine.files.catalogue import Catalogue
from fooocus_flask.model_files import addresses
from fooocus_flask.model_files.addresses import Sources
from fooocus_flask.model_files.folders import style_names
from fooocus_flask.submission.prepare import catalogue

CHOICES = {
    "sampler_name": choices.SAMPLERS,
    "scheduler_name": choices.SCHEDULERS,
    "refiner_swap_method": choices.REFINER_SWAP_METHODS,
    "inpaint_engine": choices.INPAINT_ENGINES,
}
"""Members that are one of a list of words."""
FILES = {
    "base_model_name": ("checkpoints", choices.NO_MODEL),
    "refiner_model_name": ("checkpoints", choices.NO_MODEL),
    "vae_name": ("vae", choices.VAE_OF_CHECKPOINT),
}
"""Members that name a model file: its kind, and the word that stands for none."""
MOST_NAMED = 20
"""Unknown styles that a note names."""


def replace_unknown(members: dict[str, Any], notes: list[str]) -> None:
    """Take out of our own members what is unknown, and note each."""
    _choices(members, notes)
    _styles(members, notes)
    models, sources = catalogue(), addresses.sources_for()
    for member, (kind, none) in FILES.items():
        name = members.get(member, none) or none
        if (name == none and member != "base_model_name") or _is_known(kind, name, models, sources):
            continue
        if members.pop(member, none) != none:
            notes.append(f"{member} {name} is replaced by the default: it is not on this server")
    for lora in members.get("loras", ()):
        name = lora["model_name"]
        if lora["enabled"] and name != choices.NO_MODEL and not _is_known("loras", name, models, sources):
            lora["model_name"] = choices.NO_MODEL
            notes.append(f"The LoRA {name} is left out: it is not on this server")


def _is_known(kind: str, name: str, models: Catalogue, sources: Sources) -> bool:
    """Whether a model file is here, or can be fetched."""
    if name == choices.BUILTIN_CHECKPOINT or models.find(kind, name):
        return True
    known = sources.find(kind, name)
    return known is not None and sources.allows(known)


def _choices(members: dict[str, Any], notes: list[str]) -> None:
    for member, words in CHOICES.items():
        if member in members and members[member] not in words:
            notes.append(f"{member} {members.pop(member)} is replaced by the default: there is none of this name")
    for step in members.get("enhance_ctrls", ()):
        name = step.get("enhance_inpaint_engine")
        if name is not None and name not in choices.INPAINT_ENGINES:
            del step["enhance_inpaint_engine"]
            notes.append(f"enhance_inpaint_engine {name} is replaced by the default: there is none of this name")


def _styles(members: dict[str, Any], notes: list[str]) -> None:
    if "style_selections" not in members:
        return
    known, sent = frozenset(style_names()), members["style_selections"]
    members["style_selections"] = [name for name in sent if name in known]
    if unknown := list(dict.fromkeys(name for name in sent if name not in known)):
        notes.append(f"Left out, as no style has the name: {_listed(unknown)}")


def _listed(names: Iterable[str]) -> str:
    named = [*names]
    rest = len(named) - MOST_NAMED
    return ", ".join(named[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
