"""The toy checkpoint, made once, and a pipeline that draws with it."""

import pytest

from engine.images import inpaint, variation
from engine.pipeline.pipeline import Pipeline
from tests import garbage
from tests.toy import toy_checkpoint


@pytest.fixture(scope="module")
def settled():
    """Leave what other modules have left out of searches for garbage: each model that leaves memory begins one."""
    garbage.settle()


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """The toy checkpoint's path."""
    return toy_checkpoint(tmp_path_factory.mktemp("toy") / "toy.safetensors")


@pytest.fixture
def redraw_at(monkeypatch):
    """`redraw_at(256)` has Vary, Upscale and inpainting draw small pictures at 256², where a person has 1024²."""
    return lambda side: redraw(monkeypatch, side)


@pytest.fixture(scope="module")
def redrawn_small():
    """The same at 256² for all of a module, also in what its tests share."""
    with pytest.MonkeyPatch.context() as patch:
        redraw(patch, 256)
        yield


def redraw(patch, side):
    """Have small pictures redrawn at this side."""
    for module in (inpaint, variation):
        assert side < module.SIDE
        patch.setattr(module, "SIDE", side)


@pytest.fixture(scope="session")
def pipeline(toy):
    """A pipeline whose built-in model is the toy checkpoint."""
    return Pipeline("cpu", builtin=toy)
