"""Styles: named templates that surround a prompt, from JSON files of Fooocus's format."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.choices import EXPANSION_STYLE, RANDOM_STYLE
from engine.files.identity import Identity, identity
from engine.files.text_files import read_text
from engine.prompt.files import files_below

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "data" / "sdxl_styles"
FAMILIES = tuple(f"sdxl_styles_{family}.json" for family in ("fooocus", "sai", "mre", "twri", "diva", "marc_k3nt3l"))
SLOT = "{prompt}"


@dataclass(frozen=True)
class StyledTexts:
    """What one style makes of a prompt; `has_prompt` says whether the prompt itself is in `positive`."""

    positive: list[str]
    negative: list[str]
    has_prompt: bool


@dataclass(frozen=True)
class TextSize:
    """How long the templates of one side are in bytes, and how many slots they have for the prompt."""

    text: int
    slots: int


@dataclass(frozen=True)
class StyleTemplate:
    """One template pair."""

    prompt: str = ""
    negative_prompt: str = ""

    def apply(self, prompt: str) -> StyledTexts:
        """The lines of both templates with the prompt in its slots."""
        return StyledTexts(
            self.prompt.replace(SLOT, prompt).splitlines(), self.negative_prompt.splitlines(), SLOT in self.prompt
        )


class Styles:
    """The shipped styles, and those of the user's folders, which add to them or replace them by name.

    A user's file replaces a shipped one of the same name; other files come before the families. Without `shipped` they
    are those of the folders alone.
    """

    def __init__(self, folders: Iterable[Path] = (), *, shipped: bool = True) -> None:
        self._styles: dict[str, StyleTemplate] = {}
        user_files = [path for folder in folders for path in files_below(folder, ".json")]
        replaced = {path.name for path in user_files}
        families = [SHIPPED / name for name in FAMILIES if shipped and name not in replaced]
        from_user: set[str] = set()
        for path in sorted([*user_files, *families], key=_rank):
            for name, style in _entries(path):
                if path.parent == SHIPPED and name in from_user:
                    continue
                if path.parent != SHIPPED:
                    from_user.add(name)
                self._styles[name] = style

    def __contains__(self, name: str) -> bool:
        return name in self._styles

    def template_names(self) -> list[str]:
        """The styles that have a template, in load order: what `Random Style` draws from."""
        return list(self._styles)

    def names(self) -> list[str]:
        """Every name a request may select, the two that are no template first."""
        return [EXPANSION_STYLE, RANDOM_STYLE, *self._styles]

    def template(self, name: str) -> StyleTemplate:
        """The style's templates; empty ones for the two that are none."""
        return self._styles.get(name, StyleTemplate())

    def sizes(self, names: Sequence[str]) -> tuple[TextSize, TextSize]:
        """The size of these styles' positive and negative texts; a random one counts as the largest there is."""
        positive = [style.prompt for style in self._styles.values()]
        negative = [style.negative_prompt for style in self._styles.values()]
        random = StyleTemplate(max(positive, key=_cost, default=""), max(negative, key=_cost, default=""))
        chosen = [random if name == RANDOM_STYLE else self._styles[name] for name in names]
        return _size(style.prompt for style in chosen), _size(style.negative_prompt for style in chosen)

    def apply(self, name: str, prompt: str) -> StyledTexts:
        """What the style makes of the prompt.

        Raises:
            KeyError: no style of that name has a template.
        """
        return self._styles[name].apply(prompt)


def _cost(template: str) -> tuple[int, int]:
    return template.count(SLOT), len(template)


def _size(templates: Iterable[str]) -> TextSize:
    parts = [template.split(SLOT) for template in templates]
    return TextSize(sum(len("".join(part).encode()) for part in parts), sum(len(part) - 1 for part in parts))


def styles_in(folders: Iterable[Path] = (), *, shipped: bool = True) -> Styles:
    """The styles of these folders as they lie there now; read again only where a file came, went or changed."""
    folders = tuple(folders)
    state = tuple(identity(path) for folder in folders for path in files_below(folder, ".json"))
    return _read_styles(folders, state, shipped)


@lru_cache(maxsize=4)
def _read_styles(folders: tuple[Path, ...], _state: tuple[Identity, ...], shipped: bool) -> Styles:
    return Styles(folders, shipped=shipped)


def _rank(path: Path) -> int:
    """Families in their fixed order, any other file before them."""
    return FAMILIES.index(path.name) if path.name in FAMILIES else -1


def _entries(path: Path) -> Iterator[tuple[str, StyleTemplate]]:
    """The styles of a file; what cannot be read is left out with a warning, one entry at a time."""
    try:
        entries = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        log.warning("styles of %s left out: %s", path, error)
        return
    if not isinstance(entries, list):
        log.warning("styles of %s left out: it should be a list of objects with name and prompt", path)
        return
    for number, entry in enumerate(entries, 1):
        try:
            yield _entry(entry)
        except (KeyError, TypeError, AttributeError) as error:
            log.warning("style %d of %s left out: %s: %s", number, path, type(error).__name__, error)


def _entry(entry: dict[str, Any]) -> tuple[str, StyleTemplate]:
    texts = entry["name"], entry.get("prompt") or "", entry.get("negative_prompt") or ""
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("name, prompt and negative_prompt must be text")
    return normalised(texts[0]), StyleTemplate(*texts[1:])


def normalised(name: str) -> str:
    """The name as requests spell it: hyphens to spaces, words capitalised, families' initials upper."""
    words = name.replace("-", " ").split(" ")
    name = " ".join(word[:1].upper() + word[1:].lower() for word in words)
    for word, spelling in (("3d", "3D"), ("Sai", "SAI"), ("Mre", "MRE"), ("(s", "(S")):
        name = name.replace(word, spelling)
    return name
