"""Names of weights from a project's own files to a library's, by rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

Rule = tuple[str, str]
"""A regular expression and its replacement."""


def renamed(name: str, rules: Sequence[Rule]) -> str:
    """The name after every rule, one after another."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def layers_below(names: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered layers stand below `prefix`."""
    return len({name.removeprefix(prefix).partition(".")[0] for name in names if name.startswith(prefix)})
