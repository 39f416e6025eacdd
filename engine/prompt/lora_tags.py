"""LoRAs named inside a prompt: `<lora:name:weight>`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePath

from engine.choices import NO_MODEL
from engine.modes import modes_of
from engine.params import GenerateParams, NamedLora
from engine.prompt.lines import prompt_lines, with_additional

TAG = re.compile(r"<lora:([^:]+):([+-]?(?:\d+(?:\.\d*)?|\.\d+))>")
MAX_LORAS = 5
WHERE = "only tags that are written in the first line of a prompt name LoRAs, not those of other lines or of wildcards"
MOST_TOLD, LONGEST_TOLD = 8, 64
"""Tags that are told, and characters of their names."""


def take_tags(line: str, files: Sequence[str], enabled: Collection[str] = ()) -> tuple[str, list[NamedLora]]:
    """The line without its tags, tidied, and the LoRAs they name as (file, weight).

    `files` are the known LoRA files, the first whose stem equals the tag's name is meant; a name nobody has is dropped.
    A file in `enabled` (the request's own LoRAs) is not taken twice. The line is tidied whether it has tags or not.
    """
    stems: dict[str, str] = {}
    for file in files:
        stems.setdefault(PurePath(file).stem, file)
    found: list[NamedLora] = []
    for name, weight in _tags(line):
        lora = (stems.get(name, ""), float(weight))
        if lora[0] and lora[0] not in enabled and lora not in found:
            found.append(lora)
    return tidied(",".join(TAG.sub("", piece) for piece in line.split(","))), found


def tag_names(line: str) -> list[str]:
    """The names in a line's tags, each once."""
    return list(dict.fromkeys(name for name, _ in _tags(line)))


def tag_notes(lines: Iterable[str]) -> list[str]:
    """What to tell of the tags in lines whose tags are no LoRAs but text, as in Fooocus."""
    names = dict.fromkeys(name for line in lines for name in tag_names(line))
    return [f"The tag of the LoRA {name[:LONGEST_TOLD]} is read as text: {WHERE}" for name in [*names][:MOST_TOLD]]


def tagged_loras(params: GenerateParams) -> list[str]:
    """The LoRAs that tags in a request's prompts name, by their files' stems.

    Only a prompt's first line has tags, and a wildcard's words have none.
    """
    modes = modes_of(params)
    prompts = [params.prompt]
    if modes.inpaint:
        prompts = [with_additional(params.prompt, params.inpaint_additional_prompt)]
    prompts += [step.enhance_prompt for step in modes.enhance_steps]
    return list(dict.fromkeys(name for prompt in prompts for name in tag_names(prompt_lines(prompt)[0])))


def _tags(line: str) -> list[tuple[str, str]]:
    """Name and weight of each tag; none reaches over a comma."""
    return [match for piece in line.split(",") for match in TAG.findall(piece)]


def tidied(line: str) -> str:
    """The line with one space between words and `, ` between its pieces; empty pieces are gone."""
    line = re.sub(" +", " ", line)
    return ", ".join(piece for piece in map(str.strip, line.split(",")) if piece)


def all_loras(requested: Sequence[NamedLora], found: Sequence[NamedLora], limit: int = MAX_LORAS) -> list[NamedLora]:
    """The request's LoRAs and those of its tags; only if there are any of these are all together cut to `limit`.

    Empty slots count for nothing.
    """
    named = [lora for lora in requested if lora[0] != NO_MODEL]
    return [*named, *found][:limit] if found else named


def over_the_limit(
    requested: Sequence[NamedLora], found: Sequence[NamedLora], limit: int = MAX_LORAS
) -> list[NamedLora]:
    """The LoRAs of tags that `all_loras` cuts off."""
    return [*(lora for lora in requested if lora[0] != NO_MODEL), *found][limit:] if found else []
