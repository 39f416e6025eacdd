"""Imports point one way: blueprints to schemas and the application, these to the engine; packages in their order."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.serving import ROOT

TOPS = ("engine", "schemas", "fooocus_flask", "blueprints")
"""Each imports only those before it; the application's factory, `fooocus_flask/__init__.py`, finds the blueprints."""
ENGINE = (
    *("files", "prompt", "images", "gpu", "sampling", "models", "detectors", "adapters", "model_store"),
    *("vision", "pipeline", "process", "fleet", "checkout"),
)
APPLICATION = ("access", "model_files", "pictures", "tasks", "submission", "following", "runner", "server")
"""Packages whose modules import their own package, the modules beside the packages, and packages before."""
FACTORY = "fooocus_flask"
HEAVY = {"torch", "diffusers", "transformers", "ray"}
"""What the web process never imports."""
WEB = frozenset({"flask", "flask_limiter", "flask_smorest", "flask_sqlalchemy", "gevent", "webargs", "werkzeug"})


def modules() -> dict[str, Path]:
    """Every module of the project's own packages, by dotted name."""
    found = {}
    for top in TOPS:
        for path in (ROOT / top).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> Iterator[str]:
    """The project's modules that a module names in import statements, inside functions too."""
    return imports_in(ast.walk(ast.parse(MODULES[name].read_text("utf-8"))))


def imports_in(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The project's modules that these statements import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in MODULES:
                    yield whole
                elif node.module in MODULES:
                    yield node.module


def outside(path: Path) -> Iterator[str]:
    """Every module that a file names in import statements."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@cache
def graph() -> dict[str, set[str]]:
    """What each module imports of the project's; read by the one worker of a run that runs these tests."""
    return {name: set(imports(name)) - {name} for name in MODULES}


def reached(starts: set[str]) -> set[str]:
    """The modules that are imported with these, by import statements outside functions."""
    found, waiting = set(starts), list(starts)
    while waiting:
        tree = ast.parse(MODULES[waiting.pop()].read_text("utf-8"))
        new = set(imports_in(tree.body)) - found
        found |= new
        waiting += new
    return found


def outside_names(name: str) -> set[str]:
    """The packages of others that a module imports outside functions."""
    body = ast.parse(MODULES[name].read_text("utf-8")).body
    plain = {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
    return {
        other.split(".")[0]
        for other in plain | {node.module or "" for node in body if isinstance(node, ast.ImportFrom)}
    }


def room(name: str, packages: tuple[str, ...]) -> int:
    """Where a module stands in the order of packages; 0 for those beside the packages."""
    parts = name.split(".")
    return packages.index(parts[1]) + 1 if len(parts) > 1 and parts[1] in packages else 0


def to_later_packages(top: str, packages: tuple[str, ...]) -> list[str]:
    """The imports inside `top` that lead to a later package."""
    inside = [name for name in graph() if name.split(".")[0] == top and name != FACTORY]
    return [
        f"{name} imports {other}"
        for name in sorted(inside)
        for other in sorted(graph()[name])
        if other.split(".")[0] == top and room(other, packages) > room(name, packages)
    ]


def test_the_four_tops_import_one_way():
    places = {top: place for place, top in enumerate(TOPS)}
    wrong = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if name != FACTORY and places[other.split(".")[0]] > places[name.split(".")[0]]
    ]
    assert wrong == []


@pytest.mark.parametrize(("top", "packages"), [("engine", ENGINE), ("fooocus_flask", APPLICATION)])
def test_no_package_imports_a_later_one(top, packages):
    assert to_later_packages(top, packages) == []


@pytest.mark.parametrize(("top", "packages"), [("engine", ENGINE), ("fooocus_flask", APPLICATION)])
def test_the_order_names_every_package(top, packages):
    there = {path.parent.name for path in (ROOT / top).glob("*/__init__.py")} - {"builtin"}
    there |= {path.stem for path in (ROOT / top).glob("*.py")} & set(packages)
    assert there == set(packages)


def test_the_schemas_know_no_web_framework():
    """Shapes are checked wherever they are used; what only a server knows is handed to them."""
    wrong = [
        f"{name} imports {imported}"
        for name, path in MODULES.items()
        for imported in outside(path)
        if name.split(".")[0] == "schemas" and imported.split(".")[0] in WEB
    ]
    assert wrong == []


def test_no_module_imports_itself_by_way_of_others():
    try:
        tuple(TopologicalSorter(graph()).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_what_the_web_process_imports_needs_no_torch():
    web = {name for name in MODULES if name.split(".")[0] != "engine"}
    heavy = {name: found for name in reached(web) if (found := outside_names(name) & HEAVY)}
    assert heavy == {}


def test_migrations_import_nothing_of_the_application():
    """What the application has now is not what it had when they were written."""
    assert {name: others for name, others in graph().items() if ".versions." in name and others} == {}
