"""The page about compatibility: a row for each defect of the old server, with tests that there are."""

import ast
import re
from functools import cache

import pytest

from tests.serving import ROOT

DEFECTS = [f"D{number}" for number in range(1, 85)]
ROW = re.compile(r"^\| (D\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
ROWS = {
    defect: (was, here, held) for defect, was, here, held in ROW.findall((ROOT / "docs/compatibility.md").read_text())
}


@cache
def names_in(path: str) -> set[str]:
    """The names of a module's tests."""
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_defect_has_one_row_in_its_turn():
    page = (ROOT / "docs/compatibility.md").read_text()
    assert re.findall(r"^\| (D\d+)", page, re.MULTILINE) == DEFECTS == list(ROWS)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_row_names_tests_that_there_are(defect):
    named = NAMED.findall(ROWS[defect][2])
    assert named and [(path, name) for path, name in named if name not in names_in(path)] == []
