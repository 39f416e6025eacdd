"""The model files of a request: found at the door, or refused by name with where to get them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine import names
from engine.models import known_files
from engine.models.catalogue import Catalogue
from engine.needs import Need, needs
from engine.params import GenerateParams
from fooocus_flask.draft import Draft
from fooocus_flask.errors import InvalidRequest

OPTIONAL = {
    "loras": "LoRA",
    "refiner_model_name": "refiner",
    "vae_name": "VAE",
}
"""Members whose file can be left out of a picture, and what such a file is called."""


def find_checkpoint(draft: Draft, models: Catalogue) -> str | None:
    """The checkpoint's path; None for the built-in model, which stands in where there is no checkpoint at all."""
    name = draft.values["base_model_name"]
    if name == names.BUILTIN_CHECKPOINT:
        return None
    path = models.find("checkpoints", name)
    if path is not None:
        return str(path)
    there = [other for other in models.checkpoints() if other != names.BUILTIN_CHECKPOINT]
    if there:
        legal = ", ".join([*there, names.BUILTIN_CHECKPOINT])
        draft.refuse("enum", "base_model_name", f"There is no checkpoint {name!r}; there are {legal}", expected=legal)
    else:
        draft.notes.append(
            f"Drawn with the built-in model {names.BUILTIN_CHECKPOINT}: this server has no checkpoint, so not {name}"
        )
    return None


def check_files(draft: Draft, models: Catalogue, *, builtin: bool) -> None:
    """Refuse what is asked for and not there; what only the defaults name is left out with a note.

    A preset's files count as asked for, unless the built-in model draws in place of the preset's own.
    """
    refused = {fault.loc[1] for fault in draft.faults}
    for need in needs(GenerateParams.from_dict(draft.values), builtin=builtin):
        if need.member in refused or any(models.find(need.kind, name) for name in need.names):
            continue
        insisted = need.member in draft.asked or (need.member in draft.from_preset and not builtin)
        if need.member in OPTIONAL and not insisted:
            leave_out(draft, need)
        else:
            refuse(draft, need, models)


def require_files(values: Mapping[str, Any], wanted: Iterable[Need], models: Catalogue) -> None:
    """See that every file is there.

    Raises:
        InvalidRequest: some are not; all of them at once.
    """
    draft = Draft(dict(values), set(values), set())
    for need in wanted:
        if models.find(need.kind, need.name) is None:
            refuse(draft, need, models)
    if draft.faults:
        raise InvalidRequest(draft.faults)


def leave_out(draft: Draft, need: Need) -> None:
    """Go on without a file that nobody insisted on."""
    named_by = f"the preset {draft.values['preset']}" if need.member in draft.from_preset else "the defaults"
    draft.notes.append(f"The {OPTIONAL[need.member]} {need.name} of {named_by} is left out: it is not on this server")
    if need.member == "loras":
        for lora in draft.values["loras"]:
            lora["enabled"] = lora["enabled"] and lora["model_name"] != need.name
    else:
        draft.values[need.member] = names.VAE_OF_CHECKPOINT if need.member == "vae_name" else names.NO_MODEL


def refuse(draft: Draft, need: Need, models: Catalogue) -> None:
    """Tell that a file is missing and how to get by."""
    known = known_files.by_name(need.kind, need.name)
    if known:
        text = (
            f"{need.member} needs the model file {need.name}, which is not on this server. Put it into the models "
            f"folder {need.kind}; it can be had from {known.url}"
        )
        draft.refuse("missing_file", need.member, text, **_context(known))
        return
    there = ", ".join(models.names(need.kind)) or "none on this server"
    text = f"There is no {OPTIONAL.get(need.member, 'file')} {need.name!r}; there are: {there}"
    draft.refuse("enum", need.member, text, expected=there)


def _context(known: known_files.KnownFile) -> dict[str, Any]:
    return {"file": f"{known.kind}/{known.name}", "url": known.url}
