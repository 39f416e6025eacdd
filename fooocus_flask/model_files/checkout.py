"""An existing Fooocus that draws in place of our engine: where it lies, its Python, and the arguments of its tasks."""

from __future__ import annotations

import ast
import shutil
from dataclasses import dataclass
from pathlib import Path

from flask import Flask

from engine.checkout import members
from engine.checkout.task_arguments import UnreadableTask, page_defaults, read_task_arguments
from engine.files.text_files import read_text
from fooocus_flask.errors import StartError
from fooocus_flask.extension import Extension

WORKER, PAGE, VERSION = "modules/async_worker.py", "webui.py", "fooocus_version.py"
PYTHONS = (
    *("venv/bin/python", ".venv/bin/python", "fooocus_env/bin/python", "venv/Scripts/python.exe"),
    *("python_embeded/python.exe", "../python_embeded/python.exe", "python_embeded/bin/python"),
)
"""Where a checkout's own Python may lie, as its guides have it."""
NO_VERSION = "unknown"


class CheckoutError(StartError):
    """The checkout cannot draw; the text says why and what would work."""


@dataclass(frozen=True)
class Checkout:
    """A Fooocus: its folder, the Python that runs it, its version, and the names of its tasks' arguments."""

    root: Path
    python: str
    version: str
    arguments: frozenset[str]

    @property
    def name(self) -> str:
        """What it is called in sentences."""
        return f"Fooocus {self.version}"


def configured(app: Flask) -> Checkout | None:
    """The checkout that the settings name; None where our own engine draws.

    Raises:
        CheckoutError: it is none, is too old, wants what no request has, or there is no Python for it.
    """
    if not app.config.get("PATH"):
        return None
    root = Path(app.config["PATH"])
    if not (root / WORKER).is_file():
        raise CheckoutError(f"FOOOCUS_PATH is {str(root)!r}, which is no Fooocus: it has no {WORKER}")
    version = version_of(root)
    try:
        names = read_task_arguments(read_text(root / WORKER)).names
    except UnreadableTask as error:
        raise CheckoutError(f"The Fooocus {version} in {root} cannot be used, {error}; 2.5.5 can") from error
    check_foreign(root, version, names)
    return Checkout(root, python_of(root, app.config["PYTHON"]), version, names)


checkout = Extension("fooocus-checkout", configured)


def check_foreign(root: Path, version: str, names: frozenset[str]) -> None:
    """See that arguments which no request has a member for have a value on the program's own page.

    Raises:
        CheckoutError: one has none.
    """
    page = root / PAGE
    defaults = page_defaults(read_text(page)) if page.is_file() else {}
    unknown = [name for name in members.foreign(names) if name not in defaults]
    if unknown:
        raise CheckoutError(
            f"The Fooocus {version} in {root} cannot be used: its tasks ask for {', '.join(unknown)}, which no request "
            f"has and its {PAGE} gives no value; 2.5.5 can"
        )


def version_of(root: Path) -> str:
    """What the checkout says its version is."""
    try:
        body = ast.parse(read_text(root / VERSION)).body
    except (OSError, SyntaxError):
        return NO_VERSION
    values = (node.value for node in body if isinstance(node, ast.Assign))
    return next((str(value.value) for value in values if isinstance(value, ast.Constant)), NO_VERSION)


def python_of(root: Path, asked: str) -> str:
    """The Python that runs a checkout: the one that is asked for, else its own, else the one on the PATH.

    Raises:
        CheckoutError: there is none.
    """
    own = next((str(root / place) for place in PYTHONS if (root / place).is_file()), None)
    found = shutil.which(asked) if asked else own or shutil.which("python") or shutil.which("python3")
    if found is None:
        text = f"FOOOCUS_PYTHON is {asked!r}, and there is no such program" if asked else f"{root} has no Python"
        raise CheckoutError(f"{text}; give the Python that runs this Fooocus, such as {root}/venv/bin/python")
    return found
