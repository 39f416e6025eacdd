"""`make install` leaves a torch alone that is in its environment already and that setup.py admits."""

import re
import subprocess
import sys

import pytest

from tests.serving import ROOT

pytestmark = pytest.mark.slow
PINNED = re.search(r"^torch==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE).group(1)


@pytest.fixture(scope="module")
def venv(tmp_path_factory):
    """An environment without packages, made as the first install makes it."""
    folder = tmp_path_factory.mktemp("install") / "venv"
    pin(folder, sys.executable)
    return folder


def pin(venv, python="true"):
    """Have the pins of an environment made, after the environment itself; by default it is there already."""
    command = ["make", f"VENV={venv}", f"PYTHON={python}", f"{venv}/constraints.txt"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def torch_pin(venv, version, *marks):
    """The pin of torch that an environment gets which has this version of it, or none."""
    for name in (".installed", ".own-torch", "constraints.txt"):
        (venv / name).unlink(missing_ok=True)
    for name in marks:
        (venv / name).touch()
    (site,) = venv.glob("lib/python*/site-packages")
    for installed in site.glob("torch-*"):
        (installed / "METADATA").unlink()
        installed.rmdir()
    if version:
        about = site / f"torch-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
    pin(venv)
    pins = (venv / "constraints.txt").read_text()
    assert "torchsde==" in pins
    found = re.search(r"^torch==(.+)$", pins, re.MULTILINE)
    return found and found.group(1)


@pytest.mark.parametrize(
    ("version", "marks", "pinned"),
    [
        (None, [], True),
        ("2.11.0+rocm7.1", [], False),
        ("2.9.1", [], False),
        ("2.9.1", [".installed"], True),
        ("2.9.1", [".installed", ".own-torch"], False),
        ("2.10.0+xpu", [".installed"], False),
        ("2.7.1+cu126", [], True),
    ],
)
def test_a_torch_that_was_there_first_is_not_pinned(venv, version, marks, pinned):
    assert torch_pin(venv, version, *marks) == (PINNED if pinned else None)
