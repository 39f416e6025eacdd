"""The kinds of a request's model files: a file that is something else than its member takes is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine import choices
from engine.file_set import FileSet
from engine.files import detect
from engine.files.catalogue import Catalogue
from engine.required_files import Need
from fooocus_flask.pictures.inputs import in_thread
from fooocus_flask.submission.draft import Draft
from fooocus_flask.submission.required_files import leave_out

NO_VAE = (
    "{} has no VAE: name one in vae_name, as GET /v1/engines/vaes lists them, or use a checkpoint that brings its own"
)


def check_kinds(draft: Draft, files: FileSet, models: Catalogue) -> None:
    """Refuse files that are known to be of another kind, or broken; what nobody insists on is left out with a note."""
    if files.takes_sdxl_files and files.checkpoint.is_file():
        _check_base(draft, files.checkpoint)
    for need in _named(draft):
        path = models.find(need.kind, need.name)
        reason = in_thread(detect.unfit, path, need.member) if path else None
        if reason and need.member not in draft.asked:
            leave_out(draft, need, reason)
        elif reason:
            draft.refuse("value_error", need.member, reason)


def _check_base(draft: Draft, path: Path) -> None:
    reason = in_thread(detect.unfit, path, "base_model_name")
    own = draft.params.vae_name == choices.VAE_OF_CHECKPOINT
    if reason is None and own and not in_thread(detect.has_vae, path):
        reason = NO_VAE.format(path.name)
    if reason:
        draft.refuse("value_error", "base_model_name", reason)


def _named(draft: Draft) -> Iterator[Need]:
    """The files that the request names, beside the checkpoint."""
    params = draft.params
    if params.refiner_model_name not in (choices.NO_MODEL, params.base_model_name):
        yield Need("checkpoints", params.refiner_model_name, "refiner_model_name")
    if params.vae_name != choices.VAE_OF_CHECKPOINT:
        yield Need("vae", params.vae_name, "vae_name")
    for lora in params.loras:
        if lora.enabled and lora.model_name != choices.NO_MODEL:
            yield Need("loras", lora.model_name, "loras")
