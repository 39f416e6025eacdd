"""A class name means one thing: no two classes share one, in a top-level package or across them."""

from __future__ import annotations

import ast
from collections import defaultdict

import pytest

from tests.serving import ROOT
from tests.test_import_order import TOPS

LIBRARY_NAMES = {"Meta"}
"""Classes inside schemas, whose name marshmallow prescribes."""


def shared_names(*tops: str) -> dict[str, list[str]]:
    """The class names that are defined more than once, each with the modules that do."""
    places = defaultdict(list)
    for path in (path for top in tops for path in sorted((ROOT / top).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name not in LIBRARY_NAMES:
                places[node.name].append(str(path.relative_to(ROOT)))
    return {name: modules for name, modules in places.items() if len(modules) > 1}


@pytest.mark.parametrize("top", TOPS)
def test_no_two_classes_of_a_package_share_a_name(top):
    assert shared_names(top) == {}


def test_no_two_classes_share_a_name():
    assert shared_names(*TOPS) == {}
