"""From a picture's metadata to a request that draws it again."""

from __future__ import annotations

import math
import re
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from engine import choices
from engine.files import builtin_set
from engine.files.catalogue import matching
from engine.images import other_programs
from engine.images.metadata import stem
from engine.prompt.style_recovery import recovered
from engine.prompt.styles import Styles

LONGEST_LITERAL = 20_000
MOST_NAMES, LONGEST_NAME = 20, 100
"""Names that a note lists, and their characters."""
LORA_KEY = re.compile(r"(?:lora_combined_|LoRA )(\d{1,4})")
OTHER_KEYS = frozenset({"full_prompt", "full_negative_prompt", "lora_weights", "lora_hashes"})

LABELS = {
    "prompt": "Prompt",
    "negative_prompt": "Negative Prompt",
    "styles": "Styles",
    "performance": "Performance",
    "steps": "Steps",
    "resolution": "Resolution",
    "guidance_scale": "Guidance Scale",
    "sharpness": "Sharpness",
    "adm_guidance": "ADM Guidance",
    "base_model": "Base Model",
    "refiner_model": "Refiner Model",
    "refiner_switch": "Refiner Switch",
    "overwrite_switch": "Overwrite Switch",
    "refiner_swap_method": "Refiner Swap Method",
    "adaptive_cfg": "CFG Mimicking from TSNR",
    "clip_skip": "CLIP Skip",
    "sampler": "Sampler",
    "scheduler": "Scheduler",
    "vae": "VAE",
    "seed": "Seed",
    "freeu": "FreeU",
    "version": "Version",
}
"""What each key is called in old logs, which hold labels in place of keys."""

UNEXPLAINED = (
    "The picture's texts hold words of styles whose templates are not among the styles here, so style_selections lacks "
    "them: name styles yourself, or send the whole texts, full_prompt and full_negative_prompt of raw, as prompts"
)


def is_known(key: str) -> bool:
    """Whether a key, or a label of old logs, has a meaning here."""
    return key in LABELS or key in LABELS.values() or key in OTHER_KEYS or bool(LORA_KEY.fullmatch(key))


class ModelNames(Protocol):
    """Whoever knows which model files are here."""

    def checkpoints(self) -> Sequence[str]:
        """Checkpoints, by name relative to their folder."""

    def loras(self) -> Sequence[str]:
        """LoRAs, likewise."""

    def vaes(self) -> Sequence[str]:
        """VAEs, likewise."""


def to_request(
    found: Mapping[str, Any], models: ModelNames, styles: Styles | None = None
) -> tuple[dict[str, Any], list[str]]:
    """The generate request that would draw such a picture again, and notes on what had to be left out of it."""
    found = dict(found)
    unexplained = False
    if "styles" not in found and isinstance(found.get("full_prompt"), str):
        unexplained = _recover_prompts(found, styles or Styles())
    reading = _Reading(found)
    if unexplained:
        reading.notes.append(UNEXPLAINED)
    reading.prompts()
    reading.sampling()
    reading.size_and_steps()
    reading.tuples()
    reading.models(models)
    reading.loras(models.loras())
    reading.other_members()
    reading.request["image_number"] = 1
    return reading.request, reading.notes


def _recover_prompts(found: dict[str, Any], styles: Styles) -> bool:
    """Put the prompts and the styles that a text of the web UIs' format only implies under their keys.

    Whether some of the text came from styles that are not here.
    """
    positive, negative = found["full_prompt"], str(found.get("full_negative_prompt") or "")
    raw = {key: found[key] for key in ("prompt", "negative_prompt") if isinstance(found.get(key), str)}
    if positive.isascii() and negative.isascii():  # EXIF holds `?` for every other character
        seen = {key: text.encode("ascii", "replace").decode("ascii") for key, text in raw.items()}
    else:
        seen = raw
    texts = recovered(positive, negative, styles, seen.get("prompt"), seen.get("negative_prompt"))
    found |= {"prompt": texts.prompt, "negative_prompt": texts.negative_prompt, "styles": texts.styles} | raw
    return texts.unexplained


class _Reading:
    """A request on its way: what was found, what it becomes, what could not be taken over."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.found = found
        self.request: dict[str, Any] = {}
        self.notes: list[str] = []
        self.ours = str(self.value("version")).startswith("Fooocus")

    def value(self, key: str) -> Any:
        return self.found.get(key, self.found.get(LABELS.get(key, key)))

    def take(self, key: str, field: str, converted: Callable[[Any], Any]) -> None:
        """Set the request's field from the key if that is there; a value that does not fit is noted."""
        value = self.value(key)
        if value is None:
            return
        try:
            self.request[field] = converted(value)
        except ValueError as error:
            self.notes.append(f"{key} is left out: {error}")
        except (TypeError, OverflowError):
            self.notes.append(f"{key} is left out: {_shown(value)} does not fit")

    def other_members(self) -> None:
        """Note what another program wrote and no member of a request means."""
        scheme = str(self.found.get("metadata_scheme"))
        program = "a web UI" if scheme == "a1111" else other_programs.NAMES.get(scheme)
        names = self.found.get(other_programs.LEFT_OUT)
        if program and isinstance(names, list) and names:
            listed = ", ".join(str(name)[:LONGEST_NAME] for name in names[:MOST_NAMES])
            listed += f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            self.notes.append(f"Written by {program} and left out, since no member of a request means it: {listed}")

    def prompts(self) -> None:
        self.take("prompt", "prompt", _as_text)
        self.take("negative_prompt", "negative_prompt", _as_text)
        self.take("styles", "style_selections", _names)

    def sampling(self) -> None:
        self.take("performance", "performance_selection", _one_of(choices.PERFORMANCES))
        self.take("sampler", "sampler_name", _one_of(choices.SAMPLERS))
        self.take("scheduler", "scheduler_name", _one_of(choices.SCHEDULERS))
        self.take("refiner_swap_method", "refiner_swap_method", _one_of(choices.REFINER_SWAP_METHODS))
        for key in ("guidance_scale", "sharpness", "adaptive_cfg", "refiner_switch"):
            self.take(key, key, _number)
        if self.ours:
            self.request["clip_skip"] = 1  # what is never written down
        self.take("clip_skip", "clip_skip", _whole)
        self.take("overwrite_switch", "overwrite_switch", _whole)
        self.take("seed", "image_seed", _whole)

    def size_and_steps(self) -> None:
        self.take("resolution", "aspect_ratios_selection", _size)
        size = self.request.get("aspect_ratios_selection")
        if size:
            self.request |= {"overwrite_width": -1, "overwrite_height": -1}
        if size and size.replace("*", "×") not in choices.ASPECT_RATIOS:
            del self.request["aspect_ratios_selection"]
            width, height = size.split("*")
            self.request |= {"overwrite_width": int(width), "overwrite_height": int(height)}
        self.request["overwrite_step"] = -1
        self.take("steps", "overwrite_step", _whole)
        steps = self.request["overwrite_step"]
        mode = choices.PERFORMANCES.get(self.request.get("performance_selection", ""))
        if mode and mode.steps == steps:
            self.request["overwrite_step"] = -1

    def tuples(self) -> None:
        self.take("adm_guidance", "adm_guidance", _numbers(3))
        adm = self.request.pop("adm_guidance", ())
        self.request |= dict(zip(("adm_scaler_positive", "adm_scaler_negative", "adm_scaler_end"), adm, strict=False))
        self.take("freeu", "freeu", _numbers(4))
        freeu = self.request.pop("freeu", ())
        self.request["freeu_enabled"] = bool(freeu)
        self.request |= dict(zip(("freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2"), freeu, strict=False))

    def models(self, models: ModelNames) -> None:
        self.take("base_model", "base_model_name", _listed("checkpoint", models.checkpoints()))
        self.take("refiner_model", "refiner_model_name", _listed("checkpoint", models.checkpoints(), choices.NO_MODEL))
        self.take("vae", "vae_name", _listed("VAE", models.vaes(), choices.VAE_OF_CHECKPOINT))

    def loras(self, there: Sequence[str]) -> None:
        mode = choices.PERFORMANCES.get(self.request.get("performance_selection", ""))
        own = {stem(mode.lora), builtin_set.FEW_STEP.stem} if mode and mode.lora else set()
        known = _listed("LoRA", there)
        self.request["loras"] = []
        for text in _lora_texts(self.found):
            try:
                enabled, name, weight = _lora(text)
                if stem(name) not in {*own, choices.NO_MODEL}:
                    self.request["loras"].append({"enabled": enabled, "model_name": known(name), "weight": weight})
            except ValueError as error:
                self.notes.append(f"a LoRA is left out: {error}")


def _lora_texts(found: Mapping[str, Any]) -> list[str]:
    """`name : weight` of each LoRA, in either scheme's spelling."""
    keyed = []
    for key, value in found.items():
        match = LORA_KEY.fullmatch(key)
        if match and isinstance(value, str):
            keyed.append((int(match[1]), value))
    if keyed:
        return [text for _, text in sorted(keyed)]
    weights, hashes = found.get("lora_weights"), found.get("lora_hashes")
    if isinstance(weights, str) and weights:
        return [" : ".join(part.rsplit(": ", 1)) for part in weights.split(", ")]
    triples = [part.split(": ") for part in hashes.split(", ")] if isinstance(hashes, str) else []
    return [f"{parts[0]} : {parts[2]}" for parts in triples if len(parts) == 3]


def _lora(text: str) -> tuple[bool, str, float]:
    """Switch, name and weight of `name : weight` or `switch : name : weight`."""
    name, joint, weight = text.rpartition(" : ")
    if not joint:
        raise ValueError(f"{_shown(text)} is not of the form name : weight")
    enabled = True
    if found := re.match(r"(True|False) : ", name):
        enabled, name = found[1] == "True", name[found.end() :]
    return enabled, name, _number(weight)


def _as_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is not a text")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a number")
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{_shown(value)} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{number} is not finite")
    return number


def _whole(value: Any) -> int:
    """An integer; never by way of a float if it is one already, for seeds have more digits than floats."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,30}", value.strip()):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = _number(value)
    if number != int(number):
        raise ValueError(f"{number} is not a whole number")
    return int(number)


def _size(value: Any) -> str:
    """`width*height` from any spelling of two numbers."""
    found = re.fullmatch(r"\D{0,4}(\d{1,5})\D{1,6}(\d{1,5})\D{0,4}", str(value), re.ASCII)
    if not found:
        raise ValueError(f"{_shown(value)} is not a size")
    return f"{int(found[1])}*{int(found[2])}"


def _names(value: Any) -> list[str]:
    listed = _literal(value)
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ValueError(f"{_shown(value)} is not a list of names")
    return listed


def _numbers(count: int) -> Callable[[Any], list[float]]:
    def converted(value: Any) -> list[float]:
        numbers = _literal(value)
        if not isinstance(numbers, list | tuple) or len(numbers) != count:
            raise ValueError(f"{_shown(value)} are not {count} numbers")
        return [_number(number) for number in numbers]

    return converted


def _literal(value: Any) -> Any:
    """What a text spells out in Python's notation for values; anything but a text as it is."""
    if not isinstance(value, str):
        return value
    if len(value) > LONGEST_LITERAL:
        raise ValueError(f"{_shown(value)} is too long")
    try:
        return literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"{_shown(value)} is not a plain value") from error


def _one_of(legal: Sequence[str] | Mapping[str, Any]) -> Callable[[Any], str]:
    def converted(value: Any) -> str:
        if _as_text(value) not in legal:
            raise ValueError(f"{_shown(value)} is not one of {', '.join(legal)}")
        return value

    return converted


def _listed(kind: str, there: Sequence[str], word: str | None = None) -> Callable[[Any], str]:
    """The file that the name means, the first of several; `word` stands for itself, as does an empty text for it."""

    def converted(value: Any) -> str:
        name = _as_text(value)
        if word is not None and name in (word, ""):
            return word
        if files := matching(name, there):
            return files[0]
        raise ValueError(f"there is no {kind} {_shown(name)} here")

    return converted


def _shown(value: Any) -> str:
    """A foreign value, short enough to be read."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
