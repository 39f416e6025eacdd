"""The stand-in for a Fooocus of `tests/fooocus`, copied to where a test may change it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from tests.serving import ROOT, Server

SHIPPED = ROOT / "tests" / "fooocus"
ALWAYS = ("vae_approx/xlvaeapp.pth", "prompt_expansion/fooocus_expansion/pytorch_model.bin")
"""Model files without which Fooocus draws nothing."""


def make_standin(folder: Path, models: Path, **config: object) -> Path:
    """A checkout in this folder, with the checkpoints of a models folder and what `config.txt` is to say."""
    shutil.copytree(SHIPPED, folder)
    for path in (models / "checkpoints").glob("*.safetensors"):
        shutil.copyfile(path, folder / "models" / "checkpoints" / path.name)
    for place in ALWAYS:
        (folder / "models" / place).write_bytes(b"here")
    if config:
        (folder / "config.txt").write_text(json.dumps(config), "utf-8")
    return folder


def standin_server(instance: Path, checkout: Path, **environment: str) -> Server:
    """A server over a checkout."""
    settings = {"FOOOCUS_PATH": str(checkout), "FOOOCUS_PYTHON": sys.executable}
    return Server(instance, Path("models"), **settings, **environment)
