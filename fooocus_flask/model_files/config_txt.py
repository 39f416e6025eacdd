"""What an existing Fooocus was told: the keys of its `config.txt`, and environment variables of the same names."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flask import Flask

from engine.files.text_files import read_text
from fooocus_flask.errors import StartError

CONFIG_PATH = "config_path"
"""The environment's variable that names the file."""


class ConfigError(StartError):
    """`config.txt` cannot be used; the text says where and what would work."""


def path_of(app: Flask) -> Path:
    """Where the application looks for the file: as the environment or CONFIG_TXT says.

    A relative path starts at the folder of the Fooocus that draws, if one does, else at the instance folder.
    """
    named = os.environ.get(CONFIG_PATH) or app.config.get("CONFIG_TXT") or "config.txt"
    return Path(app.config.get("PATH") or app.instance_path) / Path(named).expanduser()


def read(path: Path) -> Mapping[str, Any]:
    """What the file holds; nothing if it is not there or empty.

    Raises:
        ConfigError: it is there and no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        text = read_text(path)
        found = json.loads(text) if text.strip() else {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON: {why_no_json(error)}") from error
    if not isinstance(found, dict):
        raise ConfigError(f'{path} should hold a JSON object, such as {{"path_checkpoints": "/models/checkpoints"}}')
    return found


def why_no_json(error: ValueError | RecursionError) -> str:
    """What is wrong with a text that should be JSON, where, and what would work."""
    if not isinstance(error, json.JSONDecodeError):
        return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    place = f"in line {error.lineno}, column {error.colno}"
    before = error.doc[: error.pos].rstrip()
    if "\\escape" in error.msg:
        return f"{place}, a backslash stands alone; double the backslashes of paths: C:\\\\models"
    if "trailing comma" in error.msg or (before.endswith(",") and error.doc[error.pos : error.pos + 1] in ("}", "]")):
        return f"{place}, a comma stands before the closing bracket; remove it"
    if error.pos >= len(error.doc.rstrip()):
        return f"{place}, the text ends too early; a quote or a bracket is not closed"
    return f"{place}: {error.msg}"


def from_environment(keys: Iterable[str]) -> dict[str, Any]:
    """The keys that are variables of the environment, their values read as Python writes them.

    Booleans may be written in any case; what is no Python value is text.
    """
    return {key: _literal(os.environ[key]) for key in keys if os.environ.get(key)}


def _literal(text: str) -> Any:
    if text.casefold() in ("true", "false"):
        return text.casefold() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
