"""The settings that the environment decides: `FOOOCUS_` before the name, the value in JSON or as text."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence

from flask import Flask

from engine import choices
from engine.memory_plan import AUTO, MODES
from fooocus_flask import settings
from fooocus_flask.errors import StartError

PREFIX = "FOOOCUS"
SWITCHES = tuple(name for name, default in vars(settings).items() if isinstance(default, bool))
"""Settings that are true or false."""
NUMBERS = {name: type(default) for name, default in vars(settings).items() if type(default) in (int, float)}
"""Settings that are numbers, and whether whole ones."""
CHOICES = {
    "MEMORY_PLAN": ("", AUTO, *MODES),
    "UNET_STORAGE": ("", *choices.UNET_STORAGES),
    "VAE_FORMAT": ("", *choices.VAE_FORMATS),
    "TEXT_STORAGE": ("", *choices.TEXT_STORAGES),
    "ATTENTION": ("", *choices.ATTENTIONS),
    "UNET_ARITHMETIC": ("", *choices.UNET_ARITHMETICS),
    "STORAGE_SERVE": ("redirect", "proxy"),
    "S3_ADDRESSING": ("auto", "path", "virtual"),
}
"""Settings that are one of a few words, wherever they come from."""
COUNTS = ("MAX_PIXELS", "HISTORY_LIMIT", "STORAGE_CACHE_BYTES")
"""Settings that are whole numbers and not negative, wherever they come from."""
ENGINES_AUTO, ONE_ENGINE, MOST_ENGINES = "auto", "1", 64
"""What ENGINES may be besides a number: as many as there are graphics cards; its default; and the largest number."""
MOST_BATCHED = 8
"""The most tasks that are drawn as one batch: beyond it a picture takes no less time, and more memory."""
DEVICE = re.compile(r"(cuda|xpu)(:[0-9]{1,2})?|mps|cpu")
DEVICES = "cuda, cuda:1, xpu, mps or cpu"
"""What DEVICE may be, and in words."""
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class SettingError(StartError):
    """A setting cannot be what the environment says; the text says which and what would work."""


def read(app: Flask) -> None:
    """Put what the environment says over the settings. A switch takes the usual words.

    A switch or a number that is empty decides nothing; nor does the number of engines.

    Raises:
        SettingError: a switch has another word, a number is none, a choice is not one of its words, or a count is
            negative, ENGINES no number of engines, or DEVICE no device or one card for several engines.
    """
    standing = {name: app.config[name] for name in (*SWITCHES, *NUMBERS, "ENGINES")}
    app.config.from_prefixed_env(PREFIX)
    said = {name: text for name in standing if (text := os.environ.get(f"{PREFIX}_{name}", "").strip())}
    app.config.update(standing | {name: _value(name, text) for name, text in said.items()})
    for name, words in CHOICES.items():
        if app.config[name] not in words:
            nothing = ", or nothing" if "" in words else ""
            raise SettingError(f"{name} is {app.config[name]!r}; give {', '.join(filter(None, words))}{nothing}")
    for name in COUNTS:
        if type(app.config[name]) is not int or app.config[name] < 0:
            wanted = "a whole number, such as 67108864, or 0 for no limit"
            raise SettingError(f"{name} is {app.config[name]!r}; give {wanted}")
    if type(app.config["BATCH_TASKS"]) is not int or not 0 <= app.config["BATCH_TASKS"] <= MOST_BATCHED:
        wanted = f"a whole number from 2 to {MOST_BATCHED}, or 0 for one task at a time"
        raise SettingError(f"BATCH_TASKS is {app.config['BATCH_TASKS']!r}; give {wanted}")
    if not is_device(app.config["DEVICE"]):
        raise SettingError(f"DEVICE is {app.config['DEVICE']!r}; give {DEVICES}, or nothing")
    if ":" in app.config["DEVICE"] and str(app.config["ENGINES"]) != ONE_ENGINE:
        chosen = "give cuda, and choose among cards with CUDA_VISIBLE_DEVICES"
        raise SettingError(f"DEVICE is {app.config['DEVICE']!r}, one card, and ENGINES asks for several; {chosen}")
    if not is_engines(str(app.config["ENGINES"])):
        wanted = f"a whole number from 1 to {MOST_ENGINES}, or {ENGINES_AUTO} for one engine for each graphics card"
        raise SettingError(f"ENGINES is {app.config['ENGINES']!r}; give {wanted}")


def is_engines(text: str) -> bool:
    """Whether this may be the number of engines."""
    return text == ENGINES_AUTO or (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_ENGINES)


def is_device(name: object) -> bool:
    """Whether this may be the device that draws; empty: whichever there is."""
    return name == "" or (isinstance(name, str) and DEVICE.fullmatch(name) is not None)


def _value(name: str, text: str) -> bool | int | float | str:
    if name == "ENGINES":
        return text
    variable = f"{PREFIX}_{name}"
    return number(variable, text, NUMBERS[name]) if name in NUMBERS else switch(variable, text)


def entries(said: str | Sequence[str] | None) -> list[str]:
    """The names that a setting lists, be it a list or a text with commas."""
    listed = said.split(",") if isinstance(said, str) else said or ()
    return [name for entry in listed if (name := entry.strip())]


def number(variable: str, text: str, kind: type[int] | type[float]) -> int | float:
    """The number that a variable holds.

    Raises:
        SettingError: it holds none, or a fraction where only whole numbers count.
    """
    try:
        value = kind(text)
        if math.isfinite(value):
            return value
    except ValueError:
        pass
    wanted = "a whole number, such as 7" if kind is int else "a number, such as 7 or 0.5"
    raise SettingError(f"{variable} is {text!r}; give {wanted}")


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
