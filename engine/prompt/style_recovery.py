"""Which styles made a text: the templates found in it, and what is left of it without them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.choices import EXPANSION_STYLE
from engine.prompt.styles import SLOT, Styles

JOINT = ", "


@dataclass(frozen=True)
class Recovered:
    """The styles of a text, in the order they were applied, and the prompts they were applied to.

    `unexplained` says that words are left which neither the prompts nor expansion gave: those of unknown styles.
    """

    styles: list[str]
    prompt: str
    negative_prompt: str
    unexplained: bool = False


@dataclass(frozen=True)
class _Match:
    """A style's place in both texts; `prompt` is what stands in its slot, None if it has no slot."""

    name: str
    start: int
    end: int
    prompt: str | None
    negative: str


def recovered(
    positive: str, negative: str, styles: Styles, prompt: str | None = None, negative_prompt: str | None = None
) -> Recovered:
    """The styles whose positive and negative texts both stand in texts that were joined by commas.

    `prompt` and `negative_prompt` are those before styles, lines parted by newlines, where they are known; otherwise
    they are what the slots hold, or what the styles leave over. Text that neither explains was added by expansion.
    """
    lines = prompt.split("\n") if prompt is not None else [None]
    whole_negative = negative
    if negative_prompt is not None:
        negative = _without(negative, negative_prompt.replace("\n", JOINT))
    found: list[_Match] = []
    while match := _first(positive, negative, styles, lines[0], {match.name for match in found}):
        positive = _cut(positive, match.start, match.end)
        negative = _without(negative, match.negative)
        found.append(match)
    found.sort(key=lambda match: whole_negative.find(match.negative) if match.negative else len(whole_negative))
    slots = [match.prompt for match in found if match.prompt is not None]
    own, rest = _own_prompt(positive, slots, lines)
    names = [EXPANSION_STYLE] * (rest != "") + [match.name for match in found]
    if negative_prompt is None:
        return Recovered(names, own, negative)
    by_expansion = rest.startswith(own.split("\n")[0].split(JOINT)[0])  # which begins with the prompt
    return Recovered(names, own, negative_prompt, negative != "" or (rest != "" and not by_expansion))


def _own_prompt(rest: str, slots: list[str], lines: Iterable[str | None]) -> tuple[str, str]:
    """The prompt, and what expansion added to it, given what the styles left over."""
    known = [line for line in lines if line is not None]
    if known:
        for line in known[1:] if slots else known:
            rest = _without(rest, line)
        return "\n".join(known), rest
    if slots:
        return slots[0], rest
    again = rest.rfind(JOINT + rest.split(JOINT)[0])
    return (rest[:again], rest[again:]) if again > 0 else (rest, "")


def _first(positive: str, negative: str, styles: Styles, prompt: str | None, known: set[str]) -> _Match | None:
    """Of the styles that match, the one whose positive text ends first: what comes before it is no other style's."""
    matches = (
        _match(name, positive, negative, styles, prompt) for name in styles.template_names() if name not in known
    )
    return min(filter(None, matches), key=lambda match: match.end, default=None)


def _match(name: str, positive: str, negative: str, styles: Styles, prompt: str | None) -> _Match | None:
    template = styles.apply(name, SLOT)
    wanted, unwanted = JOINT.join(template.positive), JOINT.join(template.negative)
    if not (wanted or unwanted) or _place(unwanted, negative) < 0:
        return None
    if not template.has_prompt or prompt is not None:
        piece = wanted.replace(SLOT, prompt or "")
        start = _place(piece, positive)
        slot = prompt if template.has_prompt else None
        return _Match(name, start, start + len(piece), slot, unwanted) if start >= 0 else None
    left, right = wanted.split(SLOT, 1)
    start = positive.find(left)
    end = positive.find(right, start + len(left)) if right else len(positive)
    if start < 0 or end < 0:
        return None
    return _Match(name, start, end + len(right), positive[start + len(left) : end], unwanted)


def _place(piece: str, text: str) -> int:
    """Where the piece stands between joints or the text's ends; -1 for nowhere, 0 for an empty piece."""
    return f"{JOINT}{text}{JOINT}".find(f"{JOINT}{piece}{JOINT}") if piece else 0


def _without(text: str, piece: str) -> str:
    """The text without the last such piece."""
    start = _place(piece, text) if piece else -1
    return _cut(text, start, start + len(piece)) if start >= 0 else text


def _cut(text: str, start: int, end: int) -> str:
    parts = text[:start].removesuffix(JOINT), text[end:].removeprefix(JOINT)
    return JOINT.join(part for part in parts if part)
