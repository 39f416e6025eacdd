"""The model files of a request: found at the door, else fetched where that is allowed, else refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import gevent

from engine import choices
from engine.file_set import FileSet
from engine.files.catalogue import Catalogue
from engine.files.detect import is_sd15
from engine.files.downloads import shown
from engine.files.known_files import KnownFile
from engine.params import GenerateParams, Lora
from engine.prompt.lora_tags import tagged_loras
from engine.required_files import INTERPOSER, Need
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.model_files.addresses import Sources
from fooocus_flask.model_files.awaited_file import Awaited
from fooocus_flask.submission.draft import Draft
from schemas.faults import Fault

OPTIONAL = {
    "loras": "LoRA",
    "refiner_model_name": "refiner",
    "vae_name": "VAE",
    "prompt": "LoRA",
}
"""Members whose file can be left out of a picture, and what such a file is called."""
MOST_TAGS = 64
"""LoRA tags of a prompt that are looked up and noted; five LoRAs are used."""
NOT_HERE = "it is not on this server"


def find_checkpoint(draft: Draft, models: Catalogue, sources: Sources) -> str | None:
    """The checkpoint's path, where it lies or will; None for the built-in model.

    That one, if there is one, draws where there is no checkpoint at all, and the one that is named cannot be fetched.
    """
    name = draft.params.base_model_name
    if name == choices.BUILTIN_CHECKPOINT and models.has_builtin:
        return None
    path, known = models.find("checkpoints", name), sources.find("checkpoints", name)
    if path is None and known and sources.allows(known):
        draft.downloads.append(Awaited.of(known))
        path = models.target("checkpoints", name)
    if path is not None:
        return str(path)
    there = models.checkpoints()
    if there != [choices.BUILTIN_CHECKPOINT]:
        legal = ", ".join(there) or f"none in {', '.join(map(str, models.folders['checkpoints']))}"
        text = f"There is no checkpoint {name!r}; there are {legal}"
        draft.refuse("enum", "base_model_name", f"{text}. {_ways(known)}" if known else text, expected=legal)
    else:
        draft.notes.append(
            f"Drawn with the built-in model {choices.BUILTIN_CHECKPOINT}: this server has no checkpoint, so not {name}"
        )
    return None


def check_files(draft: Draft, files: FileSet, models: Catalogue, sources: Sources) -> None:
    """List the files to download, refuse missing ones that the client insists on, leave out the others with a note.

    A preset's files count as insisted on where they fit the base model. What does not fit and nobody insists on is
    never downloaded.
    """
    refused = {fault.loc[1] for fault in draft.faults}
    wanted = files.needs(draft.params)
    for need in (*wanted, *refiner_needs(draft, models)):
        if need.member in refused or any(models.find(need.kind, name) for name in need.names):
            continue
        insisted = need.member in draft.asked or (need.member in draft.from_preset and files.takes_sdxl_files)
        dispensable = need.member in OPTIONAL and need.name != INTERPOSER and not insisted
        known = sources.find(need.kind, need.name)
        if known and sources.allows(known) and (files.takes_sdxl_files or not dispensable):
            draft.downloads.append(Awaited.of(known, need.member if dispensable else None))
        elif dispensable:
            leave_out(draft, need)
        else:
            refuse(draft, need, models, known)
    check_tags(draft, files, models, sources)
    if sources.allowed and files.takes_sdxl_files:
        draft.downloads += [Awaited.of(file) for file in sources.embeddings() if not models.find(*file.place)]


def check_tags(draft: Draft, files: FileSet, models: Catalogue, sources: Sources) -> None:
    """List the files to download for the prompt's LoRA tags; those that are not to be had are left out with a note.

    LoRAs that do not fit the base model are never downloaded.
    """
    tags = tagged_loras(draft.params)[:MOST_TAGS]
    if not tags:
        return
    stems = {PurePosixPath(name).stem for name in models.loras()}
    own = choices.PERFORMANCES[draft.params.performance_selection].lora
    coming = {file.place for file in draft.downloads}
    for tag in tags:
        known = sources.lora(tag, but=own)
        if tag in stems or (own and tag == PurePosixPath(own).stem) or (known and known.place in coming):
            continue
        if known and sources.allows(known) and files.takes_sdxl_files:
            draft.downloads.append(Awaited.of(known, "prompt"))
        else:
            ways = f". {_ways(known)}" if known and not sources.allows(known) else ""
            leave_out(draft, Need("loras", known.name if known else tag, "prompt"), f"{NOT_HERE}{ways}")


def refiner_needs(draft: Draft, models: Catalogue) -> list[Need]:
    """What a refiner of Stable Diffusion 1.5 needs besides itself; only its file tells whether it is one."""
    path = models.find("checkpoints", draft.params.refiner_model_name)
    if path is None or not gevent.get_hub().threadpool.apply(is_sd15, (path,)):
        return []
    return [Need("vae_approx", INTERPOSER, "refiner_model_name")]


def require_files(
    values: Mapping[str, Any], wanted: Iterable[Need], models: Catalogue, sources: Sources
) -> list[Awaited]:
    """The files to download of those that a request with these values needs; the others are there.

    Raises:
        InvalidRequest: some are missing and cannot be downloaded; all of them at once.
    """
    downloads, faults = [], []
    for need in wanted:
        if models.find(need.kind, need.name) is not None:
            continue
        known = sources.find(need.kind, need.name)
        if known and sources.allows(known):
            downloads.append(Awaited.of(known))
        else:
            type, text, ctx = missing(need, models, known)
            faults.append(Fault(type, text, values[need.member], ctx, ("body", need.member)))
    if faults:
        raise InvalidRequest(faults)
    return downloads


def leave_out(draft: Draft, need: Need, why: str = NOT_HERE) -> None:
    """Go on without a file that nobody insists on."""
    note = f"The {OPTIONAL[need.member]} {need.name} of {_named_by(draft, need)} is left out: {why}"
    draft.leave_out(note, **without(draft.params, need))


def without(params: GenerateParams, need: Need) -> dict[str, Any]:
    """The parameters to change so that this file is not used; none for a prompt's tag, which is skipped by itself."""
    if need.member == "prompt":
        return {}
    if need.member == "loras":
        return {"loras": tuple(_switched_off(lora, need.name) for lora in params.loras)}
    return {need.member: choices.VAE_OF_CHECKPOINT if need.member == "vae_name" else choices.NO_MODEL}


def _switched_off(lora: Lora, name: str) -> Lora:
    return replace(lora, enabled=False) if lora.model_name == name else lora


def _named_by(draft: Draft, need: Need) -> str:
    if need.member == "prompt":
        return "the prompt"
    return f"the preset {draft.params.preset}" if need.member in draft.from_preset else "the defaults"


def refuse(draft: Draft, need: Need, models: Catalogue, known: KnownFile | None) -> None:
    """Record that a file is missing."""
    type, text, ctx = missing(need, models, known)
    draft.refuse(type, need.member, text, **ctx)


def missing(need: Need, models: Catalogue, known: KnownFile | None) -> tuple[str, str, dict[str, Any]]:
    """The fault of a missing file: its type, a text that says how to get by, and its context."""
    if known:
        text = f"{need.member} needs the model file {need.name}, which is not on this server. {_ways(known)}"
        return "missing_file", text, {"file": f"{known.kind}/{known.name}", "url": shown(known.url)}
    there = ", ".join(models.names(need.kind)) or "none on this server"
    text = f"There is no {OPTIONAL.get(need.member, 'file')} {need.name!r}; there are: {there}"
    return "enum", text, {"expected": there}


def _ways(known: KnownFile) -> str:
    """How a file can get here."""
    return (
        f"Put it into the models folder {known.kind}; it can be had from {shown(known.url)}. "
        "A server started with --allow-downloads fetches it by itself"
    )
