"""What an engine loads before its first task: there when it comes, in nobody's way, and without effect on pictures."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event

import pytest
import torch

from engine.files.catalogue import Folders
from engine.files.hashes import HashCache
from engine.files.identity import identity
from engine.interruption import Interruption
from engine.models.checkpoint import read_tensors
from engine.models.early_reading import EarlyReader
from engine.pipeline.pipeline import Pipeline
from engine.process.preload import Preload
from engine.process.startup import hash_after
from tests.expansion_files import expansion_files
from tests.toy import toy_checkpoint, toy_draw, toy_params


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another checkpoint than the built-in one."""
    return toy_checkpoint(tmp_path_factory.mktemp("other") / "other.safetensors", seed=1)


@pytest.fixture
def fresh(toy: Path) -> Pipeline:
    """A pipeline that has drawn nothing."""
    return Pipeline("cpu", builtin=toy)


def preload_of(checkpoint: Path) -> Preload:
    """A preload of this checkpoint, by way of the command line."""
    return Preload.from_json(json.dumps({"checkpoint": str(checkpoint), "params": toy_params().to_dict()}))


def drawn(pipeline: Pipeline, folder: Path, checkpoint: Path) -> bytes:
    """The file of a task that is drawn."""
    task = toy_draw(folder, checkpoint=checkpoint)
    assert pipeline.draw(task, lambda message: None).outcome == "finished"
    return Path(task.outputs[0]).read_bytes()


def holds(pipeline: Pipeline, checkpoint: Path) -> bool:
    """Whether the checkpoint is loaded."""
    return ("base", identity(checkpoint)) in pipeline.store.cache.parts


def test_what_is_preloaded_is_there_and_gives_the_same_picture(fresh, pipeline, other, tmp_path):
    preload = preload_of(other)
    fresh.preload(preload.task, preload.interruption, preload.given_up.is_set)
    assert holds(fresh, other)
    (tmp_path / "a").mkdir()
    assert drawn(fresh, tmp_path / "a", other) == drawn(pipeline, tmp_path, other)


def test_a_rehearsal_draws_and_saves_nothing(fresh, other, tmp_path):
    preload, heard = preload_of(other), []
    task = preload.task
    fresh.device = torch.device("meta")  # as on a GPU: all but this choice looks at the models' device
    before = set(tmp_path.rglob("*"))
    fresh.preload(task, Interruption(lambda: heard.append("step")), preload.given_up.is_set)
    assert len(heard) >= 2 and set(tmp_path.rglob("*")) == before


def test_the_expansions_model_is_preloaded_with_a_style_that_expands(toy, other, tmp_path):
    folder = expansion_files(tmp_path / "prompt_expansion" / "fooocus_expansion")
    pipeline = Pipeline("cpu", Folders.below(tmp_path), builtin=toy)
    params = toy_params(prompt="", style_selections=["Fooocus V2"]).to_dict()
    preload = Preload.from_json(json.dumps({"checkpoint": str(other), "params": params}))
    pipeline.preload(preload.task, preload.interruption, preload.given_up.is_set)
    assert ("expansion", str(folder)) in pipeline.store.cache.parts


def test_loading_ends_when_another_checkpoint_is_wanted(fresh, other, toy, tmp_path):
    preload, asked = preload_of(other), []

    def given_up() -> bool:
        asked.append(1)
        if len(asked) == 5:
            preload.give_way(toy_draw(tmp_path, checkpoint=toy))
        return preload.given_up.is_set()

    fresh.preload(preload.task, preload.interruption, given_up)
    assert len(asked) == 5 and not fresh.store.cache.parts
    assert drawn(fresh, tmp_path, other)  # what was given up can be loaded later


def test_loading_goes_on_for_a_task_that_wants_the_same(other, tmp_path):
    preload = preload_of(other)
    preload.give_way(toy_draw(tmp_path, checkpoint=other))
    assert preload.interruption.stopping and not preload.given_up.is_set()


def test_an_early_reader_hands_the_file_over_once(other, monkeypatch):
    monkeypatch.setattr("engine.models.early_reading.roomy", lambda path, device: True)
    reader = EarlyReader(other, torch.device("cpu"), Event(), straight=True)
    reader.start()
    tensors, wanted = reader.take(other), read_tensors(other)
    assert tensors is not None and tensors.keys() == wanted.keys()
    assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)
    assert reader.take(other) is None


def test_a_model_made_of_what_was_read_early_is_the_same(fresh, other, pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.models.early_reading.roomy", lambda path, device: True)
    reader = fresh.store.early_reader = EarlyReader(other, torch.device("cpu"), Event(), straight=True)
    reader.start()
    (tmp_path / "a").mkdir()
    assert drawn(fresh, tmp_path / "a", other) == drawn(pipeline, tmp_path, other)
    assert reader.take(other) is None


def test_an_early_reader_keeps_nothing_for_whoever_loads_another_file(toy, other, monkeypatch):
    monkeypatch.setattr("engine.models.early_reading.roomy", lambda path, device: True)
    reader = EarlyReader(other, torch.device("cpu"), Event(), straight=True)
    assert reader.take(toy) is None
    reader.start()
    assert reader.take(other) is None


@pytest.mark.parametrize("straight", [False, True])
def test_an_early_reader_keeps_nothing_in_the_host_memory(other, straight):
    reader = EarlyReader(other, torch.device("cpu"), Event(), straight=straight)
    reader.start()
    assert reader.take(other) is None


def test_a_file_that_is_gone_is_left_to_whoever_needs_it(tmp_path):
    reader = EarlyReader(tmp_path / "gone.safetensors", torch.device("cpu"), Event(), straight=True)
    reader.start()
    assert reader.take(tmp_path / "gone.safetensors") is None


@pytest.mark.parametrize("given_up", [False, True])
def test_what_is_read_early_is_hashed_unless_it_is_given_up(other, tmp_path, given_up):
    gone = Event()
    reader, hashes = EarlyReader(other, torch.device("cpu"), gone, straight=True), HashCache(tmp_path / "hashes.txt")
    if given_up:
        gone.set()
    reader.start()
    hash_after(reader, hashes)
    assert (hashes.known(other) is None) == given_up
