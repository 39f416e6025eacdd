"""What is asked of PostgreSQL too: the tests of whatever speaks SQL, found by their marks."""

import ast
from pathlib import Path

from tests.serving import ROOT

PRODUCT = [path for folder in ("fooocus_flask", "blueprints") for path in sorted((ROOT / folder).rglob("*.py"))]
SPEAKS = {"sqlalchemy", "fooocus_flask.database"}
"""Who imports anything of these makes statements, or handles what a database says."""
SQLITE_ALONE = {"sqlite"}
"""Modules that PostgreSQL never meets."""


def name(path: Path) -> str:
    """A module as marks name it."""
    return path.relative_to(ROOT).with_suffix("").as_posix().removeprefix("fooocus_flask/")


def speaks_sql(path: Path) -> bool:
    """Whether a module imports what statements are made with."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(tuple(SPEAKS)):
            return True
        if isinstance(node, ast.Import) and any(alias.name.startswith(tuple(SPEAKS)) for alias in node.names):
            return True
    return False


def marked() -> set[str]:
    """The modules that are named by marks of test modules and of tests."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.sql":
                found |= {argument.value for argument in node.args}
    return found


def test_whatever_speaks_sql_is_asked_of_postgresql_too():
    speaking = {name(path) for path in PRODUCT if "migrations" not in path.parts and speaks_sql(path)}
    assert {"tasks/queue", "access/keys"} <= speaking
    assert speaking - marked() - SQLITE_ALONE == set(), "no test module with the mark sql names these"


def test_no_mark_names_a_module_that_is_gone():
    assert marked() <= {name(path) for path in PRODUCT}
