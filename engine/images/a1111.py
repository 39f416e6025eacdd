"""The plain-text metadata that AUTOMATIC1111's web UI began and others share: prompts, then one line of pairs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

NEGATIVE_MARK = "Negative prompt:"
KARRAS_SUFFIX = " Karras"
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
    "lcm": "LCM",
    "tcd": "TCD",
    "restart": "Restart",
    "ddim": "DDIM",
    "uni_pc": "UniPC",
}
FEWEST_PAIRS = 3
"""A last line with fewer pairs is taken for prompt text."""

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
    """The positive text, the negative text and the pairs, unquoted, of a metadata text."""
    *lines, last = text.strip().split("\n")
    pairs = dict(_pairs(last))
    if len(pairs) < FEWEST_PAIRS:
        lines, pairs = [*lines, last], {}
    cut = next((index for index, line in enumerate(lines) if line.strip().startswith(NEGATIVE_MARK)), len(lines))
    positive = "\n".join(line.strip() for line in lines[:cut])
    negative = "\n".join(line.strip() for line in lines[cut:]).removeprefix(NEGATIVE_MARK)
    return positive.strip(), negative.strip(), {label: _unquoted(value) for label, value in pairs.items()}


def sampler_label(sampler: str, scheduler: str) -> str:
    """The sampler as web UIs name it; its own name if they have none."""
    if sampler not in SAMPLER_LABELS:
        return sampler
    return SAMPLER_LABELS[sampler] + (KARRAS_SUFFIX if scheduler == "karras" else "")


def sampler_name(label: str, *, prefer_gpu: bool) -> str | None:
    """The sampler a label stands for, None if unknown; two names share some labels, `prefer_gpu` takes the second."""
    label = label.removesuffix(KARRAS_SUFFIX)
    found = [name for name, known in SAMPLER_LABELS.items() if known == label]
    return found[-1 if prefer_gpu else 0] if found else None


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
