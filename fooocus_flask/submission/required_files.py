"""The model files of a request: found at the door, else fetched where that is allowed, else refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import gevent

from engine import choices
from engine.files.catalogue import Catalogue
from engine.files.detect import is_sd15
from engine.files.downloads import shown
from engine.files.known_files import KnownFile
from engine.params import GenerateParams
from engine.required_files import INTERPOSER, Need, needs, tagged_loras
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.model_files.addresses import Sources
from fooocus_flask.model_files.awaited_file import Awaited
from fooocus_flask.submission.draft import Draft

OPTIONAL = {
    "loras": "LoRA",
    "refiner_model_name": "refiner",
    "vae_name": "VAE",
    "prompt": "LoRA",
}
"""Members whose file can be left out of a picture, and what such a file is called."""


def find_checkpoint(draft: Draft, models: Catalogue, sources: Sources) -> str | None:
    """The checkpoint's path, where it lies or will; None for the built-in model.

    That one stands in where there is no checkpoint at all, and the one that is named cannot be fetched.
    """
    name = draft.values["base_model_name"]
    if name == choices.BUILTIN_CHECKPOINT:
        return None
    path, known = models.find("checkpoints", name), sources.find("checkpoints", name)
    if path is None and known and sources.allowed:
        draft.downloads.append(Awaited.of(known))
        path = models.target("checkpoints", name)
    if path is not None:
        return str(path)
    there = [other for other in models.checkpoints() if other != choices.BUILTIN_CHECKPOINT]
    if there:
        legal = ", ".join([*there, choices.BUILTIN_CHECKPOINT])
        text = f"There is no checkpoint {name!r}; there are {legal}"
        draft.refuse("enum", "base_model_name", f"{text}. {_ways(known)}" if known else text, expected=legal)
    else:
        draft.notes.append(
            f"Drawn with the built-in model {choices.BUILTIN_CHECKPOINT}: this server has no checkpoint, so not {name}"
        )
    return None


def check_files(draft: Draft, models: Catalogue, sources: Sources, *, builtin: bool) -> None:
    """Note what is to be fetched, and refuse what is asked for and not to be had; the rest is left out with a note.

    A preset's files count as asked for, unless the built-in model draws in place of the preset's own. Nothing is
    fetched for the built-in model that nobody insists on: it would not fit.
    """
    refused = {fault.loc[1] for fault in draft.faults}
    wanted = needs(GenerateParams.from_dict(draft.values), builtin=builtin)
    for need in (*wanted, *refiner_needs(draft, models)):
        if need.member in refused or any(models.find(need.kind, name) for name in need.names):
            continue
        insisted = need.member in draft.asked or (need.member in draft.from_preset and not builtin)
        dispensable = need.member in OPTIONAL and need.name != INTERPOSER and not insisted
        known = sources.find(need.kind, need.name)
        if known and sources.allowed and not (dispensable and builtin):
            draft.downloads.append(Awaited.of(known, need.member if dispensable else None))
        elif dispensable:
            leave_out(draft, need)
        else:
            refuse(draft, need, models, known)
    check_tags(draft, models, sources, builtin=builtin)
    if sources.allowed and not builtin:
        draft.downloads += [Awaited.of(file) for file in sources.embeddings() if not models.find(*file.place)]


def check_tags(draft: Draft, models: Catalogue, sources: Sources, *, builtin: bool) -> None:
    """Note what is to be fetched for the prompt's LoRA tags; those that cannot come are left out with a note.

    Nothing is fetched for the built-in model, which it would not fit.
    """
    params = GenerateParams.from_dict(draft.values)
    tags = tagged_loras(params)
    if not tags:
        return
    stems = {PurePosixPath(name).stem for name in models.loras()}
    own = choices.PERFORMANCES[params.performance_selection].lora
    coming = {file.place for file in draft.downloads}
    for tag in tags:
        known = sources.lora(tag, but=own)
        if tag in stems or (own and tag == PurePosixPath(own).stem) or (known and known.place in coming):
            continue
        if known and sources.allowed and not builtin:
            draft.downloads.append(Awaited.of(known, "prompt"))
        else:
            ways = f". {_ways(known)}" if known and not sources.allowed else ""
            leave_out(draft, Need("loras", known.name if known else tag, "prompt"), f"it is not on this server{ways}")


def refiner_needs(draft: Draft, models: Catalogue) -> list[Need]:
    """What a refiner of Stable Diffusion 1.5 needs besides itself; only its file tells whether it is one."""
    path = models.find("checkpoints", draft.values["refiner_model_name"])
    if path is None or not gevent.get_hub().threadpool.apply(is_sd15, (path,)):
        return []
    return [Need("vae_approx", INTERPOSER, "refiner_model_name")]


def require_files(
    values: Mapping[str, Any], wanted: Iterable[Need], models: Catalogue, sources: Sources
) -> list[Awaited]:
    """See that every file is there, or can be fetched; those that are to be.

    Raises:
        InvalidRequest: some are not; all of them at once.
    """
    draft = Draft(dict(values), set(values), set())
    for need in wanted:
        if models.find(need.kind, need.name) is not None:
            continue
        known = sources.find(need.kind, need.name)
        if known and sources.allowed:
            draft.downloads.append(Awaited.of(known))
        else:
            refuse(draft, need, models, known)
    if draft.faults:
        raise InvalidRequest(draft.faults)
    return draft.downloads


def leave_out(draft: Draft, need: Need, why: str = "it is not on this server") -> None:
    """Go on without a file that nobody insisted on."""
    draft.notes.append(f"The {OPTIONAL[need.member]} {need.name} of {_named_by(draft, need)} is left out: {why}")
    if need.member == "prompt":
        return  # the engine passes over a tag whose file is not there
    if need.member == "loras":
        for lora in draft.values["loras"]:
            lora["enabled"] = lora["enabled"] and lora["model_name"] != need.name
    else:
        draft.values[need.member] = choices.VAE_OF_CHECKPOINT if need.member == "vae_name" else choices.NO_MODEL


def _named_by(draft: Draft, need: Need) -> str:
    if need.member == "prompt":
        return "the prompt"
    return f"the preset {draft.values['preset']}" if need.member in draft.from_preset else "the defaults"


def refuse(draft: Draft, need: Need, models: Catalogue, known: KnownFile | None) -> None:
    """Tell that a file is missing and how to get by."""
    if known:
        text = f"{need.member} needs the model file {need.name}, which is not on this server. {_ways(known)}"
        told = {"file": f"{known.kind}/{known.name}", "url": shown(known.url)}
        draft.refuse("missing_file", need.member, text, **told)
        return
    there = ", ".join(models.names(need.kind)) or "none on this server"
    text = f"There is no {OPTIONAL.get(need.member, 'file')} {need.name!r}; there are: {there}"
    draft.refuse("enum", need.member, text, expected=there)


def _ways(known: KnownFile) -> str:
    """How a file can get here."""
    return (
        f"Put it into the models folder {known.kind}; it can be had from {shown(known.url)}. "
        "A server started with --allow-downloads fetches it by itself"
    )
