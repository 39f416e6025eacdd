"""Every regular expression of the project takes time in proportion to its text, however ill-meant the text is."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from re import _constants as node  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]

import pytest

from tests.processor_time import TooSlow, processor_time
from tests.serving import ROOT

TOPS = ("engine", "schemas", "fooocus_flask", "blueprints")
LENGTH = 100_000
SECONDS = 3.0
"""Processor time for one text; what is linear takes a hundredth of it, what is quadratic many times as long."""
METHODS = {"match", "fullmatch", "search", "findall", "finditer", "sub", "split"}
SCANNING = METHODS - {"match", "fullmatch"}
FOREIGN = "\x00"
"""A character that ends a match where a pattern names its characters."""


def sources() -> list[Path]:
    """The project's modules."""
    return [path for top in TOPS for path in sorted((ROOT / top).rglob("*.py"))]


def called_of_re(call: ast.AST) -> str | None:
    """The function of the module `re` that is called with a literal pattern, if one is."""
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args):
        return None
    ours = isinstance(call.func.value, ast.Name) and call.func.value.id == "re"
    return call.func.attr if ours and isinstance(call.args[0], ast.Constant) else None


def patterns() -> dict[str, set[str]]:
    """Every literal pattern, and the ways in which it is applied."""
    found: dict[str, set[str]] = defaultdict(set)
    compiled: dict[str, str] = {}
    uses: dict[str, set[str]] = defaultdict(set)
    for path in sources():
        for part in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(part, ast.Assign) and called_of_re(part.value) == "compile":
                compiled[part.targets[0].id] = part.value.args[0].value
            elif called_of_re(part) in METHODS:
                found[part.args[0].value].add(part.func.attr)
            if isinstance(part, ast.Attribute) and part.attr in METHODS:
                owner = part.value
                uses[owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")].add(part.attr)
    for name, pattern in compiled.items():
        found[pattern] |= uses[name] or {"fullmatch"}  # handed to a field of a schema, which takes whole texts
    return dict(found)


def sample(items) -> str:
    """A text that parsed items match, a short one."""
    return "".join(sample_of(item) for item in items)


def sample_of(item) -> str:
    """A text that one parsed item matches."""
    kind, value = item
    if kind is node.LITERAL:
        return chr(value)
    if kind is node.NOT_LITERAL:
        return "a" if value != ord("a") else "b"
    if kind is node.ANY:
        return "a"
    if kind is node.IN:
        return character_in(value)
    if kind in (node.MAX_REPEAT, node.MIN_REPEAT, node.POSSESSIVE_REPEAT):
        least, _, body = value
        return sample(body) * max(1, least)
    if kind is node.SUBPATTERN:
        return sample(value[-1])
    if kind is node.ATOMIC_GROUP:
        return sample(value)
    if kind is node.BRANCH:
        return sample(value[1][0])
    return ""  # places: ^, $, what is looked ahead for


def character_in(members) -> str:
    """A character of a set."""
    for candidate in 'a1_ -.\t:,;"\\\nZ!%\u4e00':
        if re.fullmatch(rebuilt(members), candidate):
            return candidate
    return chr(next(value if kind is node.LITERAL else value[0] for kind, value in members if kind is not node.NEGATE))


def rebuilt(members) -> str:
    """The set as a pattern."""
    classes = {
        node.CATEGORY_DIGIT: r"\d", node.CATEGORY_NOT_DIGIT: r"\D", node.CATEGORY_SPACE: r"\s",
        node.CATEGORY_NOT_SPACE: r"\S", node.CATEGORY_WORD: r"\w", node.CATEGORY_NOT_WORD: r"\W",
    }  # fmt: skip
    parts = []
    for kind, value in members:
        if kind is node.NEGATE:
            parts.insert(0, "^")
        elif kind is node.LITERAL:
            parts.append(re.escape(chr(value)))
        elif kind is node.RANGE:
            parts.append(f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}")
        else:
            parts.append(classes[value])
    return f"[{''.join(parts)}]"


def worst_texts(pattern: str) -> Iterator[str]:
    """Texts that make a matcher begin, go on and fail as often as their length allows.

    Each part of the pattern is repeated behind what comes before it, and so are all runs of neighbouring parts, which
    is where two repetitions can share a text, or each beginning reads to the end.
    """

    def pumped(items, before: str) -> Iterator[str]:
        for start in range(len(items)):
            for end in range(start + 1, len(items) + 1):
                piece = sample(items[start:end])
                if piece:
                    text = before + sample(items[:start]) + piece * (LENGTH // len(piece))
                    yield from (text, text + FOREIGN, text + " " + FOREIGN)
        for place, (kind, value) in enumerate(items):
            inner = [value[-1]] if kind is node.SUBPATTERN else []
            if kind in (node.MAX_REPEAT, node.MIN_REPEAT, node.POSSESSIVE_REPEAT):
                inner = [value[2]]
            if kind is node.BRANCH:
                inner = value[1]
            for body in inner:
                yield from pumped(list(body), before + sample(items[:place]))

    return pumped(list(parser.parse(pattern)), "")


def apply(pattern: str, methods: set[str], text: str) -> None:
    """Do with the text what the project does with it."""
    compiled = re.compile(pattern)
    if methods & SCANNING:
        for _ in compiled.finditer(text):
            pass
    if "match" in methods:
        compiled.match(text)
    if "fullmatch" in methods:
        compiled.fullmatch(text)


def slow(pattern: str, methods: set[str]) -> str | None:
    """A text that the pattern does not read in linear time, and what is done with it."""
    for text in dict.fromkeys(worst_texts(pattern)):
        try:
            with processor_time(SECONDS):
                apply(pattern, methods, text)
        except TooSlow:
            return f"{sorted(methods)} on {text[:60]!r}… {text[-20:]!r}"
    return None


def test_every_pattern_reads_its_worst_text_in_linear_time():
    """One test for all: what they are is read from every module, by the one worker of a run that runs this."""
    found = patterns()
    assert len(found) > 40
    assert {pattern: why for pattern, methods in found.items() if (why := slow(pattern, methods))} == {}


def test_what_is_quadratic_is_found():
    with pytest.raises(TooSlow):
        for text in worst_texts(r"(\d+\.?\d*)x"):
            with processor_time(0.5):
                apply(r"(\d+\.?\d*)x", {"fullmatch"}, text)
