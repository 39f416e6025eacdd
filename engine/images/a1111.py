"""The plain-text metadata that AUTOMATIC1111's web UI began and others share: prompts, then one line of pairs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from engine.choices import SAMPLERS, SCHEDULERS

NEGATIVE_MARK, PAIRS_MARK = "Negative prompt:", "Steps: "
KARRAS_SUFFIX = " Karras"
AUTOMATIC = "Automatic"
SAMPLER_LABELS = {
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "dpm_2": "DPM2",
    "dpm_2_ancestral": "DPM2 a",
    "lms": "LMS",
    "dpm_fast": "DPM fast",
    "dpm_adaptive": "DPM adaptive",
    "dpmpp_2s_ancestral": "DPM++ 2S a",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_sde_gpu": "DPM++ SDE",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_gpu": "DPM++ 2M SDE",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "dpmpp_3m_sde_gpu": "DPM++ 3M SDE",
    "lcm": "LCM",
    "tcd": "TCD",
    "restart": "Restart",
    "ddim": "DDIM",
    "uni_pc": "UniPC",
}
"""The web UIs' label of each sampler that they have, written and read; the others go by their own names."""
SAMPLER_ALIASES = {"unipc bh2": "uni_pc_bh2"}
SCHEDULE_LABELS = {
    "normal": "Normal",
    "karras": "Karras",
    "exponential": "Exponential",
    "sgm_uniform": "SGM Uniform",
    "simple": "Simple",
    "ddim_uniform": "DDIM",
    "turbo": "Turbo",
    "align_your_steps": "Align Your Steps",
}
"""Schedules as the web UIs call them since AUTOMATIC1111's 1.9, which moved them out of the samplers' names."""
SCHEDULE_ALIASES = {
    "uniform": "normal",
    "sgmuniform": "sgm_uniform",
    "ddim uniform": "ddim_uniform",
    "sdxl turbo": "turbo",
    "ays": "align_your_steps",
}
AUTOMATIC_SCHEDULES = {
    "karras": ("dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m", "restart"),
    "exponential": ("dpmpp_2m_sde", "dpmpp_3m_sde"),
}
"""What `Automatic` means for these samplers in AUTOMATIC1111's web UI; for all others it means `normal`."""
FEWEST_PAIRS = 3
"""A line with fewer pairs is taken for prompt text."""

_PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')


def text(values: Mapping[str, Any], positive: Iterable[str], negative: Iterable[str]) -> str:
    """The whole text: prompts joined by commas, then `Label: value` pairs in the order given, None left out."""
    pairs = ", ".join(f"{label}: {_quoted(str(value))}" for label, value in values.items() if value is not None)
    unwanted = ", ".join(negative)
    lines = [", ".join(positive), f"{NEGATIVE_MARK} {unwanted}" if unwanted else "", pairs]
    return "\n".join(line for line in lines if line).strip()


def ascii_only(text: str) -> str:
    """The text for a place that holds ASCII only: quoted values escaped, so nothing in them is lost, `?` elsewhere."""
    *prompts, pairs = text.split("\n")
    fixed = ", ".join(
        f"{label}: {value if value.isascii() else json.dumps(_unquoted(value))}" for label, value in _pairs(pairs)
    )
    return "\n".join([*prompts, fixed]).encode("ascii", "replace").decode("ascii")


def parsed(text: str) -> tuple[str, str, dict[str, str]]:
    """The positive text, the negative text and the pairs, unquoted, of a metadata text.

    Lines that follow the line of pairs are pairs too: a label, and what stands behind its colon.
    """
    text = text.replace("\r\n", "\n").strip()
    prompts, pairs, rest = _at_pairs(text)
    found = dict(_pairs(pairs)) | dict(_line_pairs(rest))
    positive, negative = _at_negative(prompts)
    return positive, negative, {label: _unquoted(value) for label, value in found.items()}


def sampler_label(sampler: str, scheduler: str) -> str:
    """The sampler as web UIs name it; its own name if they have none."""
    if sampler not in SAMPLER_LABELS:
        return sampler
    return SAMPLER_LABELS[sampler] + (KARRAS_SUFFIX if scheduler == "karras" else "")


def schedule_label(sampler: str, scheduler: str) -> str | None:
    """The schedule as web UIs name it; None if they have no name for it, or if the sampler's label tells it."""
    told = scheduler == "karras" and sampler in SAMPLER_LABELS
    return None if told else SCHEDULE_LABELS.get(scheduler)


def sampling(label: str, schedule: str, *, prefer_gpu: bool) -> tuple[str | None, str | None]:
    """The sampler and the scheduler that a sampler's label and a schedule's stand for.

    Older web UIs write the schedule behind the sampler's label. What has no name here stays as it is written; what is
    not written is None. Two samplers share some labels, `prefer_gpu` takes the second.
    """
    sampler = sampler_name(label, prefer_gpu=prefer_gpu)
    if sampler is None:
        label, suffix = _parted(label)
        sampler, schedule = sampler_name(label, prefer_gpu=prefer_gpu) or label or None, schedule or suffix
    if schedule.casefold() == AUTOMATIC.casefold():
        return sampler, _automatic(sampler or "")
    return sampler, schedule_name(schedule) or schedule or None


def sampler_name(label: str, *, prefer_gpu: bool) -> str | None:
    """The sampler that a label or a name stands for, None if unknown."""
    wanted = label.casefold()
    if wanted in SAMPLERS:
        return wanted
    found = [name for name, known in SAMPLER_LABELS.items() if wanted == known.casefold()]
    return found[-1 if prefer_gpu else 0] if found else SAMPLER_ALIASES.get(wanted)


def schedule_name(label: str) -> str | None:
    """The scheduler that a label or a name stands for, None if unknown."""
    wanted = label.casefold()
    if wanted in SCHEDULERS:
        return wanted
    known = next((name for name, own in SCHEDULE_LABELS.items() if wanted == own.casefold()), None)
    return known or SCHEDULE_ALIASES.get(wanted)


def _parted(label: str) -> tuple[str, str]:
    """A sampler's label without the schedule that older web UIs wrote behind it, and that schedule."""
    for suffix in sorted((*SCHEDULE_LABELS.values(), *SCHEDULE_ALIASES, AUTOMATIC), key=len, reverse=True):
        if label.casefold().endswith(f" {suffix.casefold()}"):
            return label[: -len(suffix) - 1], label[-len(suffix) :]
    return label, ""


def _automatic(sampler: str) -> str:
    sampler = sampler.removesuffix("_gpu")
    return next((schedule for schedule, names in AUTOMATIC_SCHEDULES.items() if sampler in names), "normal")


def _at_pairs(text: str) -> tuple[str, str, list[str]]:
    """The prompts, the line of pairs and the lines that follow it."""
    lines = text.split("\n")
    for index in range(len(lines) - 1, -1, -1):
        start = lines[index].find(PAIRS_MARK)
        begins = start == 0 or (start > 0 and lines[index][start - 1].isspace())
        if begins and _has_pairs(lines[index][start:]):
            prompts = [*lines[:index], lines[index][:start]]
            return "\n".join(prompts).rstrip(), lines[index][start:], lines[index + 1 :]
    if _has_pairs(lines[-1]):
        return "\n".join(lines[:-1]), lines[-1], []
    return text, "", []


def _has_pairs(line: str) -> bool:
    return len(dict(_pairs(line))) >= FEWEST_PAIRS


def _line_pairs(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        label, colon, value = line.partition(":")
        if colon and label.strip():
            yield label.strip(), value.strip()


def _at_negative(prompts: str) -> tuple[str, str]:
    """The positive and the negative text; a mark that begins a line counts before one within a line."""
    lines = [line.strip() for line in prompts.split("\n")]
    cut = next((index for index, line in enumerate(lines) if line.startswith(NEGATIVE_MARK)), None)
    if cut is None:
        positive, _, negative = "\n".join(lines).partition(NEGATIVE_MARK)
    else:
        positive, negative = "\n".join(lines[:cut]), "\n".join(lines[cut:]).removeprefix(NEGATIVE_MARK)
    return positive.strip(), negative.strip()


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """Label and value, as written, of each pair; what is no pair is passed over up to the next comma."""
    position = 0
    while position < len(line):
        if found := _PAIR.match(line, position):
            yield found[1], found[2].strip()
            position = found.end()
        else:
            comma = line.find(",", position)
            position = len(line) if comma < 0 else comma + 1


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r'[,:\n]|^"', value) else value


def _unquoted(value: str) -> str:
    """A JSON string's text; anything else as it stands."""
    if len(value) < 2 or not value.startswith('"') or not value.endswith('"'):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
