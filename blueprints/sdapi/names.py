"""AUTOMATIC1111's names of samplers, schedules, checkpoints and VAEs, and ours: one table each, in both directions.

Those of samplers and schedules stand in `engine.images.a1111`, which writes and reads them in pictures' metadata.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import current_app

from engine import choices
from engine.files.catalogue import HASH_SUFFIX, Catalogue, matching
from engine.files.hashes import HashCache
from engine.images import a1111
from fooocus_flask.pictures.inputs import in_thread
from fooocus_flask.runner.engines import HASHES
from schemas.faults import Fault

UPSCALER, NO_UPSCALER = "Fooocus", "None"
UPSCALER_FACTOR = 4
AUTOMATIC = a1111.AUTOMATIC
VAE_WORDS = frozenset({"", "Automatic", "None"})
"""What stands for the checkpoint's own VAE."""


def samplers() -> list[dict[str, Any]]:
    """The samplers, each label once."""
    named: dict[str, list[str]] = {}
    for sampler in choices.SAMPLERS:
        named.setdefault(a1111.SAMPLER_LABELS.get(sampler, sampler), []).append(sampler)
    return [{"name": label, "aliases": own, "options": {}} for label, own in named.items()]


def schedulers() -> list[dict[str, Any]]:
    """The noise schedules, `automatic` first."""
    labels = {AUTOMATIC.lower(): AUTOMATIC} | {
        name: a1111.SCHEDULE_LABELS.get(name, name) for name in choices.SCHEDULERS
    }
    others: dict[str, list[str]] = {}
    for alias, name in a1111.SCHEDULE_ALIASES.items():
        others.setdefault(name, []).append(alias)
    rest = {"default_rho": -1, "need_inner_model": False}
    return [{"name": name, "label": label, "aliases": others.get(name, []), **rest} for name, label in labels.items()]


def sampling(sampler: str, schedule: str) -> tuple[dict[str, str], list[Fault]]:
    """The members for a sampler and a schedule by these names, empty: not given; and what of them is unknown."""
    given = "" if schedule.casefold() == AUTOMATIC.casefold() else schedule
    own, scheduler = a1111.sampling(sampler, given, prefer_gpu=True)
    if own and scheduler is None:
        _, scheduler = a1111.sampling(own, AUTOMATIC, prefer_gpu=True)
    faults = []
    if own and own not in choices.SAMPLERS:
        faults.append(unknown("sampler_name", "sampler", sampler, [entry["name"] for entry in samplers()]))
    elif scheduler and scheduler not in choices.SCHEDULERS:
        faults.append(unknown("scheduler", "schedule", schedule, [entry["label"] for entry in schedulers()]))
    members = {"sampler_name": own, "scheduler_name": scheduler}
    return {member: name for member, name in members.items() if name}, faults


def unknown(member: str, kind: str, name: str, there: list[str]) -> Fault:
    """The fault of a name that stands for nothing here."""
    legal = ", ".join(there)
    text = f"There is no {kind} {name!r}; there are: {legal}"
    return Fault("enum", text, name, {"expected": legal}, ("body", member))


def titles(models: Catalogue) -> dict[str, str | None]:
    """The checkpoints' hashes by name, None where one was not computed yet; reads no checkpoint."""
    known = in_thread(HashCache, Path(current_app.instance_path) / HASHES)
    found = {}
    for name in models.checkpoints():
        path = models.find("checkpoints", name)
        found[name] = known.known(path) if path else None
    return found


def title(name: str, hash: str | None) -> str:
    """A checkpoint's title."""
    return f"{name} [{hash}]" if hash else name


def checkpoint(name: str, models: Catalogue) -> str:
    """The file that a title means; without a file of the name, the name itself."""
    found = matching(name, models.checkpoints())
    return found[0] if found else HASH_SUFFIX.sub("", name.strip())


def vae(name: str, models: Catalogue) -> str:
    """The VAE that a name of sd-vae means; without a file of the name, the name itself."""
    if name in VAE_WORDS:
        return choices.VAE_OF_CHECKPOINT
    found = matching(name, models.vaes())
    return found[0] if found else name
