"""From a request to the texts each of its pictures is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from random import Random

from engine.choices import EXPANSION_STYLE, NO_MODEL, PERFORMANCES, RANDOM_STYLE
from engine.modes import modes_of
from engine.params import GenerateParams, NamedLora
from engine.prompt.lines import prompt_lines, with_additional
from engine.prompt.lora_tags import LONGEST_TOLD, MOST_TOLD, tag_notes, take_tags
from engine.prompt.styles import Styles
from engine.prompt.wildcards import Wildcards, with_array_items

MOST_BYTES = 100_000
"""Bytes of the texts of one side, styles included: an encoder makes a chunk of some 75 of the worst of them."""


@dataclass(frozen=True)
class PictureTexts:
    """One picture's texts.

    `positive` and `negative` are encoded each text on its own; the pooled vectors of the first `positive_top_k` and
    `negative_top_k` are summed (an expansion's text comes after them). `styles` are the selected ones without the
    expansion's name, random ones resolved. `prompt` and `negative_prompt` are what to write down: wildcards resolved,
    no style text. `prompt_line` is the first line of it, which expansion starts from. `loras` are those the prompt's
    tags name, as (file, weight). `expand` says whether expansion is asked for, `expansion` what it gave. `notes` tell
    what of the request is not in the texts, or is there as plain text.
    """

    seed: int
    positive: list[str]
    negative: list[str]
    positive_top_k: int
    negative_top_k: int
    styles: list[str]
    prompt: str
    negative_prompt: str
    prompt_line: str
    expand: bool
    loras: list[NamedLora]
    expansion: str = ""
    notes: tuple[str, ...] = ()

    def expanded(self, text: str) -> PictureTexts:
        """The texts with an expansion of the prompt, which is encoded like them but not counted in the pooled sum."""
        return replace(self, positive=[*self.positive, text], expansion=text)


def picture_texts(
    params: GenerateParams, styles: Styles, wildcards: Wildcards, lora_files: Sequence[str] = ()
) -> list[PictureTexts]:
    """The texts of each of the request's pictures, in order.

    `lora_files` are the LoRA files that tags in the prompt may name.
    """
    selected, gone = _there(params.style_selections, styles)
    expand = EXPANSION_STYLE in selected
    selected = [name for name in selected if name != EXPANSION_STYLE]
    positive, negative = prompt_lines(params.prompt), prompt_lines(params.negative_prompt)
    expand = expand and positive[0] != ""
    enabled = {lora.model_name for lora in params.loras if lora.enabled and lora.model_name != NO_MODEL}
    own_lora = PERFORMANCES[params.performance_selection].lora
    positive[0], loras = take_tags(positive[0], [file for file in lora_files if file != own_lora], enabled)

    pictures = []
    for index in range(params.image_number):
        seed = params.seed_of(index)
        random = Random(seed)
        missing: dict[str, None] = {}
        word = partial(wildcards.resolved, random=random, index=index, in_order=params.read_wildcards_in_order)
        word = partial(word, missing=missing.setdefault)
        lines, negative_lines = _resolved(positive, negative, word, index)
        drawn = [random.choice(styles.template_names()) if name == RANDOM_STYLE else name for name in selected]
        texts, negative_texts = styled(lines, negative_lines, drawn, styles)
        pictures.append(
            PictureTexts(
                seed=seed,
                positive=texts,
                negative=negative_texts,
                positive_top_k=len(texts),
                negative_top_k=len(negative_texts),
                styles=drawn,
                prompt="\n".join(lines),
                negative_prompt="\n".join(negative_lines),
                prompt_line=lines[0],
                expand=expand,
                loras=loras,
                notes=(*gone, *_wildcard_notes(missing), *tag_notes([*lines, *negative_lines])),
            )
        )
    return pictures


def most_bytes(params: GenerateParams, styles: Styles) -> int:
    """The bytes of a picture's texts on its longer side, before wildcards; each style with a slot repeats a line.

    The prompts of enhancement steps are used under the same styles.
    """
    modes, selected = modes_of(params), [name for name in params.style_selections if name != EXPANSION_STYLE]
    positive, negative = styles.sizes(selected)
    prompts = [with_additional(params.prompt, params.inpaint_additional_prompt) if modes.inpaint else params.prompt]
    prompts += [step.enhance_prompt for step in modes.enhance_steps]
    negatives = [params.negative_prompt, *(step.enhance_negative_prompt for step in modes.enhance_steps)]
    first = max(len(prompt_lines(prompt)[0].encode()) for prompt in prompts)
    return max(
        positive.text + positive.slots * first + max(len(prompt.encode()) for prompt in prompts),
        negative.text + max(len(prompt.encode()) for prompt in negatives),
    )


def _there(selected: Sequence[str], styles: Styles) -> tuple[list[str], list[str]]:
    """The selected styles, and notes on those whose file went away while the task waited."""
    found = [name for name in selected if name in styles or name in (EXPANSION_STYLE, RANDOM_STYLE)]
    return found, [f"There is no style {name} any more; it is left out" for name in selected if name not in found]


def _wildcard_notes(missing: Iterable[str]) -> list[str]:
    """What to tell of wildcards without words."""
    told = [name[:LONGEST_TOLD] for name in islice(missing, MOST_TOLD)]
    return [f"There is no wildcard {name}, or it has no words: the prompt has its name in their place" for name in told]


def _resolved(
    positive: list[str], negative: list[str], words: Callable[[str], str], index: int
) -> tuple[list[str], list[str]]:
    """Both sides' lines without placeholders and arrays; both first lines draw their words before the others."""
    first, negative_first = words(positive[0]), words(negative[0])
    others, negative_others = [words(line) for line in positive[1:]], [words(line) for line in negative[1:]]
    return [with_array_items(first, index), *others], [negative_first, *negative_others]


def styled(
    lines: list[str], negative_lines: list[str], selected: list[str], styles: Styles
) -> tuple[list[str], list[str]]:
    """The positive and the negative texts of a prompt's lines under styles, empty ones left out.

    Each style with a slot gives a text of its own with the first line in it; only without any the first line stands
    for itself.
    """
    applied = [styles.apply(name, lines[0]) for name in selected]
    positive = [text for style in applied for text in style.positive]
    negative = [text for style in applied for text in style.negative]
    if not any(style.has_prompt for style in applied):
        positive.insert(0, lines[0])
    positive += lines[1:]
    negative += negative_lines
    return [text for text in positive if text] or lines[:1], [text for text in negative if text] or negative_lines[:1]
