"""The settings that the environment decides: `FOOOCUS_` before the name, the value in JSON or as text."""

from __future__ import annotations

import os

from flask import Flask

from fooocus_flask import settings

PREFIX = "FOOOCUS"
SWITCHES = tuple(name for name, default in vars(settings).items() if isinstance(default, bool))
"""Settings that are true or false."""
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class SettingError(Exception):
    """A setting cannot be what the environment says; the text says which and what would work."""


def read(app: Flask) -> None:
    """Put what the environment says over the settings. A switch takes the usual words; an empty one decides nothing.

    Raises:
        SettingError: a switch has another word.
    """
    standing = {name: app.config[name] for name in SWITCHES}
    app.config.from_prefixed_env(PREFIX)
    said = {name: text for name in SWITCHES if (text := os.environ.get(f"{PREFIX}_{name}", "").strip())}
    app.config.update(standing | {name: switch(f"{PREFIX}_{name}", text) for name, text in said.items()})


def switch(variable: str, text: str) -> bool:
    """Whether a variable says yes.

    Raises:
        SettingError: it says neither yes nor no.
    """
    word = text.casefold()
    if word not in TRUE + FALSE:
        ways = f"{', '.join(TRUE)} or {', '.join(FALSE)}, in any case"
        raise SettingError(f"{variable} is {text!r}, which is neither yes nor no; give {ways}")
    return word in TRUE
