"""What a saved picture tells about itself: its rows, and the text embedded in its file.

Labels, keys, orders and formats are Fooocus's, so that its users' tools keep reading our pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from engine.choices import NO_MODEL
from engine.images import a1111
from engine.params import GenerateParams

VERSION = "Fooocus v2.5.5"
"""The program whose parameters and pictures these are; readers look for its name."""

USER_COMMENT, SOFTWARE, MAKER_NOTE = 0x9286, 0x0131, 0x927C
MOST_EXIF_BYTES = 65_533
"""What the one segment of a JPEG that EXIF may fill can hold, its own mark included."""


@dataclass(frozen=True)
class ModelFile:
    """A model that drew: its file name relative to its folder, the first 10 hex digits of its SHA-256 if known, and
    where the file lies."""

    name: str
    hash: str | None = None
    path: Path | None = field(default=None, kw_only=True)

    @property
    def stem(self) -> str:
        """The name without folder and suffix."""
        return stem(self.name)


@dataclass(frozen=True)
class AppliedLora(ModelFile):
    """A LoRA that was in force, and how strongly."""

    weight: float = 1.0


@dataclass(frozen=True)
class Generation:
    """How one picture was drawn.

    `params` are those in force, after what the performance mode changes. `size` is the generation size in pixels.
    `prompt` and `negative_prompt` have wildcards resolved and no style text; `positive_texts` and `negative_texts` are
    all that was encoded. `styles` starts with `Fooocus V2` if the prompt was expanded; random ones are resolved.
    `loras` is the list in force, the performance mode's own included; None stands for an empty slot. `notes` say what
    was left out or replaced.
    """

    params: GenerateParams
    seed: int
    steps: int
    size: tuple[int, int]
    prompt: str
    negative_prompt: str
    positive_texts: tuple[str, ...]
    negative_texts: tuple[str, ...]
    styles: tuple[str, ...]
    base_model: ModelFile
    refiner_model: ModelFile | None = None
    vae: str = "Default (model)"
    loras: tuple[AppliedLora | None, ...] = ()
    prompt_expansion: str = ""
    notes: tuple[str, ...] = ()
    created_by: str = ""
    default_adaptive_cfg: float = 7.0


@dataclass(frozen=True)
class Row:
    """One line of a picture's record."""

    label: str
    key: str
    value: Any


def stem(name: str) -> str:
    """A model's name without folder and suffix; either kind of slash parts folders."""
    return PurePosixPath(name.replace("\\", "/")).stem


def rows(generation: Generation, *, embedded: bool = True) -> list[Row]:
    """All that is recorded of a picture, in order; `embedded` says whether its file carries metadata."""
    params = generation.params
    scheme = params.metadata_scheme if embedded and params.save_metadata_to_images else False
    return [
        Row("Prompt", "prompt", generation.prompt),
        Row("Negative Prompt", "negative_prompt", generation.negative_prompt),
        Row("Fooocus V2 Expansion", "prompt_expansion", generation.prompt_expansion),
        Row("Styles", "styles", str(list(generation.styles))),
        Row("Performance", "performance", params.performance_selection),
        Row("Steps", "steps", generation.steps),
        Row("Resolution", "resolution", str(generation.size)),
        Row("Guidance Scale", "guidance_scale", params.guidance_scale),
        Row("Sharpness", "sharpness", params.sharpness),
        Row("ADM Guidance", "adm_guidance", _adm_guidance(params)),
        *_model_rows(generation),
        *_sampling_rows(generation),
        *_lora_rows(generation.loras),
        *_some("Notes", "notes", "; ".join(generation.notes), bool(generation.notes)),
        Row("Metadata Scheme", "metadata_scheme", scheme),
        Row("Version", "version", VERSION),
    ]


def embedded_text(generation: Generation, scheme: str) -> str:
    """What a file carries under the scheme: one line of JSON (`fooocus`) or the text web UIs share (`a1111`)."""
    if scheme == "a1111":
        return a1111.text(_a1111_values(generation), generation.positive_texts, generation.negative_texts)
    return json.dumps(_fooocus_values(generation), sort_keys=True)


TOO_LONG = (
    f"The metadata are not in the JPEG files: EXIF has room for {MOST_EXIF_BYTES} bytes; ask for png or webp, "
    "or send a shorter prompt"
)


def encode_options(generation: Generation, output_format: str) -> dict[str, Any]:
    """The arguments for `codecs.encode` that put a picture's metadata into its file.

    Empty if the request wants none, or if a JPEG's EXIF could not hold it.
    """
    if not generation.params.save_metadata_to_images:
        return {}
    scheme = generation.params.metadata_scheme
    text = embedded_text(generation, scheme)
    if output_format == "png":
        return {"texts": {"parameters": text, "fooocus_scheme": scheme}}
    exif = Image.Exif()
    exif[USER_COMMENT] = a1111.ascii_only(text) if scheme == "a1111" else text
    exif[SOFTWARE] = VERSION
    exif[MAKER_NOTE] = scheme
    fits = output_format == "webp" or len(exif.tobytes()) <= MOST_EXIF_BYTES
    return {"exif": exif} if fits else {}


def _some(label: str, key: str, value: Any, condition: bool) -> list[Row]:
    return [Row(label, key, value)] if condition else []


def _adm_guidance(params: GenerateParams) -> str:
    return str((params.adm_scaler_positive, params.adm_scaler_negative, params.adm_scaler_end))


def _model_rows(generation: Generation) -> list[Row]:
    params, refiner = generation.params, generation.refiner_model
    refined = refiner is not None
    swap = params.refiner_swap_method
    return [
        Row("Base Model", "base_model", generation.base_model.name),
        Row("Refiner Model", "refiner_model", refiner.name if refiner else NO_MODEL),
        Row("Refiner Switch", "refiner_switch", params.refiner_switch),
        *_some(
            "Overwrite Switch", "overwrite_switch", params.overwrite_switch, refined and params.overwrite_switch > 0
        ),
        *_some("Refiner Swap Method", "refiner_swap_method", swap, refined and swap != "joint"),
    ]


def _sampling_rows(generation: Generation) -> list[Row]:
    params = generation.params
    mimicked = params.adaptive_cfg
    freeu = (params.freeu_b1, params.freeu_b2, params.freeu_s1, params.freeu_s2)
    return [
        *_some("CFG Mimicking from TSNR", "adaptive_cfg", mimicked, mimicked != generation.default_adaptive_cfg),
        *_some("CLIP Skip", "clip_skip", params.clip_skip, params.clip_skip > 1),
        Row("Sampler", "sampler", params.sampler_name),
        Row("Scheduler", "scheduler", params.scheduler_name),
        Row("VAE", "vae", generation.vae),
        Row("Seed", "seed", str(generation.seed)),
        *_some("FreeU", "freeu", str(freeu), params.freeu_enabled),
    ]


def _lora_rows(loras: Iterable[AppliedLora | None]) -> list[Row]:
    return [
        Row(f"LoRA {number}", f"lora_combined_{number}", f"{lora.name} : {lora.weight}")
        for number, lora in enumerate(loras, 1)
        if lora is not None
    ]


def _fooocus_values(generation: Generation) -> dict[str, Any]:
    """The rows under their keys, models by stem, with hashes and all encoded texts."""
    values = {row.key: row.value for row in rows(generation)}
    loras = [(number, lora) for number, lora in enumerate(generation.loras, 1) if lora is not None]
    values |= {f"lora_combined_{number}": f"{lora.stem} : {lora.weight}" for number, lora in loras}
    values |= {
        "metadata_scheme": "fooocus",
        "full_prompt": list(generation.positive_texts),
        "full_negative_prompt": list(generation.negative_texts),
        "base_model": generation.base_model.stem,
        "base_model_hash": generation.base_model.hash,
        "vae": stem(generation.vae),
        "loras": [[lora.stem, lora.weight, lora.hash] for _, lora in loras],
    }
    if generation.refiner_model:
        values["refiner_model"] = generation.refiner_model.stem
        values["refiner_model_hash"] = generation.refiner_model.hash
    if generation.created_by:
        values["created_by"] = generation.created_by
    return {key: value for key, value in values.items() if value is not None}


def _a1111_values(generation: Generation) -> dict[str, Any]:
    """The same under the labels web UIs know."""
    row = {row.key: row.value for row in rows(generation)}
    base, refiner = generation.base_model, generation.refiner_model
    loras = [lora for lora in generation.loras if lora is not None]
    return {
        "Steps": generation.steps,
        "Sampler": a1111.sampler_label(row["sampler"], row["scheduler"]),
        "Schedule type": a1111.schedule_label(row["sampler"], row["scheduler"]),
        "Seed": row["seed"],
        "Size": "{}x{}".format(*generation.size),
        "CFG scale": row["guidance_scale"],
        "Sharpness": row["sharpness"],
        "ADM Guidance": row["adm_guidance"],
        "Model": base.stem,
        "Model hash": base.hash,
        "Performance": row["performance"],
        "Scheduler": row["scheduler"],
        "VAE": stem(generation.vae),
        "Raw prompt": generation.prompt,
        "Raw negative prompt": generation.negative_prompt,
        "Refiner": refiner.stem if refiner else None,
        "Refiner hash": refiner.hash if refiner else None,
        "Adaptive CFG": row.get("adaptive_cfg"),
        "Clip skip": row.get("clip_skip"),
        "Overwrite Switch": row.get("overwrite_switch"),
        "Refiner Swap Method": row.get("refiner_swap_method"),
        "FreeU": row.get("freeu"),
        "Lora hashes": ", ".join(f"{lora.stem}: {lora.hash}" for lora in loras if lora.hash) or None,
        "Lora weights": ", ".join(f"{lora.stem}: {lora.weight}" for lora in loras) or None,
        "Notes": row.get("notes"),
        "Version": VERSION,
        "User": generation.created_by or None,
    }
