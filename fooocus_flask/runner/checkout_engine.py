"""How the engine process over a Fooocus is started: its program, its settings as that Fooocus's own flags."""

from __future__ import annotations

from pathlib import Path

from flask import Flask

import engine.checkout
from fooocus_flask.model_files import config_txt
from fooocus_flask.model_files.checkout import Checkout
from fooocus_flask.runner.process import Launch

MAIN = Path(engine.checkout.__file__).with_name("__main__.py")
SCRATCH = "fooocus"
"""Where, in the instance folder, a Fooocus saves its pictures before they are moved."""
COUNT = "import torch; print(torch.cuda.device_count())"
FLAGS = {
    "MEMORY_PLAN": {
        "resident": "--always-high-vram --disable-offload-from-vram",
        "auto": "--always-normal-vram",
        "turns": "--always-offload-from-vram",
        "alone": "--always-low-vram",
        "streamed": "--always-no-vram",
    },
    "UNET_STORAGE": {
        "fp8_e4m3fn": "--unet-in-fp8-e4m3fn",
        "fp8_e5m2": "--unet-in-fp8-e5m2",
        "fp16": "--unet-in-fp16",
        "bf16": "--unet-in-bf16",
        "fp32": "--all-in-fp32",
    },
    "VAE_FORMAT": {
        "fp16": "--vae-in-fp16",
        "bf16": "--vae-in-bf16",
        "fp32": "--vae-in-fp32",
        "cpu": "--vae-in-cpu",
    },
    "TEXT_STORAGE": {"fp16": "--clip-in-fp16", "fp32": "--clip-in-fp32"},
    "ATTENTION": {"pytorch": "--attention-pytorch", "split": "--attention-split"},
}
"""Its flags for the values of our settings."""


def launch(fooocus: Checkout) -> Launch:
    """What is started, in the checkout's folder and by its Python."""
    return Launch((fooocus.python, str(MAIN)), fooocus.root)


def count(fooocus: Checkout) -> list[str]:
    """The command that prints how many graphics cards the checkout's torch sees."""
    return [fooocus.python, "-c", COUNT]


def environment(app: Flask) -> dict[str, str]:
    """What it finds in its environment besides the server's: the `config.txt` that the server reads."""
    return {config_txt.CONFIG_PATH: str(config_txt.path_of(app))}


def arguments(app: Flask, number: int, threads: int) -> list[str]:
    """The command line of the engine that has this number among the application's."""
    return ["--scratch", str(Path(app.instance_path) / SCRATCH / str(number)), "--", *flags(app, threads)]


def flags(app: Flask, threads: int) -> list[str]:
    """The settings about devices, memory and number formats in the words of the checkout's command line."""
    told = [words[value] for name, words in FLAGS.items() if (value := app.config[name])]
    found = [flag for words in told for flag in words.split()]
    if app.config["DEVICE"] == "cpu":
        found += ["--always-cpu", *([str(threads)] if threads else [])]
    if app.config["REBUILD_HASH_CACHE"]:
        found += ["--rebuild-hash-cache", str(app.config["REBUILD_HASH_CACHE"])]
    return found
