"""What `instance/README.md` lists is what the code reads and writes in the instance folder."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from fooocus_flask import FOLDERS, settings
from tests.serving import ROOT

LISTED = set(re.findall(r"^\| `([\w.]+)/?`", (ROOT / "instance/README.md").read_text(), re.MULTILINE))
BESIDE = {"db.sqlite3-wal", "db.sqlite3-shm", "db.sqlite3.lock"}
"""What the README names in the row of the database."""


def from_settings() -> Iterator[str]:
    """The names that settings have by default, and the file that sets others."""
    yield "config.py"
    yield settings.CONFIG_TXT
    yield settings.SQLALCHEMY_DATABASE_URI.removeprefix("sqlite:///")
    yield from (getattr(settings, name) for name in FOLDERS)


def joined(tree: ast.Module) -> Iterator[ast.expr]:
    """What a module appends to the instance's path: `Path(app.instance_path) / NAME`, or to a variable holding it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            start = ast.unparse(node.left)
            if start == "instance" or re.fullmatch(r"Path\(\w+\.instance_path\)", start):
                yield node.right


def from_code() -> Iterator[str]:
    """The names that modules append to the instance's path: texts, or constants of the module."""
    for path in (ROOT / "fooocus_flask").rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        constants = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for name in joined(tree):
            value = constants.get(name.id) if isinstance(name, ast.Name) else name
            if isinstance(value, ast.Constant):
                yield value.value


def test_the_readme_lists_what_the_code_uses_and_nothing_else():
    assert {*from_settings(), *from_code()} == LISTED


def test_a_server_that_draws_leaves_only_what_the_readme_lists(server):
    assert server.draw().status == 200
    assert {path.name for path in Path(server.instance).iterdir()} - BESIDE <= LISTED
