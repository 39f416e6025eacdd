"""What a Fooocus that draws has nothing for: refused where a client insists on it, else left out with a note."""

from __future__ import annotations

from engine.checkout.members import lacking
from engine.params import GenerateParams
from fooocus_flask.model_files.checkout import Checkout
from fooocus_flask.submission.draft import Draft
from schemas.generate import DEFAULTS

OURS_ALONE = "Upscale (Custom)"
METHODS = ("uov_method", "enhance_uov_method")
INSTEAD = "choose Upscale (1.5x) or Upscale (2x)"
NOTHING_SET = GenerateParams.from_dict(DEFAULTS)
"""The parameters of a request that sets nothing."""


def check_checkout(draft: Draft, fooocus: Checkout) -> None:
    """Refuse or leave out what this version's tasks have no argument for."""
    for member in METHODS:
        if getattr(draft.params, member) == OURS_ALONE:
            text = f"{fooocus.name} draws here, and has no {OURS_ALONE}; {INSTEAD}"
            draft.refuse("enum", member, text)
    for member in sorted(lacking(fooocus.arguments)):
        if getattr(draft.params, member) == getattr(NOTHING_SET, member):
            continue
        if member in draft.asked:
            text = f"{fooocus.name} draws here, and has nothing for {member}; leave it out"
            draft.refuse("value_error", member, text)
        else:
            draft.notes.append(f"{member} is left out: {fooocus.name} draws here, and has nothing for it")
