"""Words in place of `__name__`, drawn from the lines of `name.txt`; and arrays, `[[red, green]]`."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from random import Random

from engine.files.text_files import read_text
from engine.prompt.files import files_below

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "data" / "wildcards"
PLACEHOLDER = re.compile(r"__([\w-]+)__")
ARRAY_OPENS, ARRAY_CLOSES = "[[", "]]"
ROUNDS = 64
LONGEST = 65536


class Wildcards:
    """The word lists of some folders and of this package, read when they are needed; earlier folders win."""

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        self.folders = [*folders, SHIPPED]

    def names(self) -> list[str]:
        """The names that can stand between the underscores."""
        return list(dict.fromkeys(path.stem for path in self._files()))

    def words(self, name: str) -> list[str]:
        """The lines of the first file of that name; none if there is no such file."""
        path = next((path for path in self._files() if path.stem == name), None)
        if path is None:
            return []
        try:
            return [line for line in read_text(path).splitlines() if line]
        except OSError as error:
            log.warning("the words of %s are left out: %s", path, error)
            return []

    def _files(self) -> Iterable[Path]:
        return chain.from_iterable(files_below(folder, ".txt") for folder in self.folders)

    def resolved(
        self,
        text: str,
        random: Random,
        index: int,
        in_order: bool,
        missing: Callable[[str], object] = lambda name: None,
    ) -> str:
        """The text with words for its placeholders, those inside words included (64 rounds at most).

        A random word for each, or in order the picture's `index`-th. A name without words stays as the bare name, and
        `missing` is called with it.
        Two placeholders need something between them: `__color____animal__` is one unknown name. Words that name
        themselves more than once end when the text is longer than any prompt.
        """
        known: dict[str, list[str]] = {}
        for _ in range(ROUNDS):
            names = PLACEHOLDER.findall(text)
            if not names or len(text) > LONGEST:
                break
            for name in names:
                words = known[name] = known[name] if name in known else self.words(name)
                if not words:
                    missing(name)
                    text = text.replace(f"__{name}__", name)
                    continue
                word = words[index % len(words)] if in_order else random.choice(words)
                text = text.replace(f"__{name}__", word, 1)
        return text


def with_array_items(text: str, index: int) -> str:
    """The text with one item for each of its `[[a, b]]`; over `index` all combinations come, the first array's
    items changing fastest. Items keep the spaces around them."""
    for array in _arrays(text):
        items = array.split(",")
        index, place = divmod(index, len(items))
        text = text.replace(f"{ARRAY_OPENS}{array}{ARRAY_CLOSES}", items[place], 1)
    return text


def _arrays(text: str) -> Iterator[str]:
    """What stands in each `[[…]]`: from the first opening up to the next closing, and so on behind that.

    A regular expression would read to the text's end from every opening where none is closed.
    """
    end = 0
    while (start := text.find(ARRAY_OPENS, end)) >= 0:
        start += len(ARRAY_OPENS)
        close = text.find(ARRAY_CLOSES, start)
        if close < 0:
            return
        yield text[start:close]
        end = close + len(ARRAY_CLOSES)
