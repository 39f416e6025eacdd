"""Tasks that are drawn as one batch: each has its own picture, progress, stop, skip and failure."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image

from engine.heartbeat import Heartbeat
from engine.interruption import Interruption
from engine.messages import Draw, Ended, PictureDone, Progressed
from engine.pipeline.pipeline import TOGETHER, Pipeline
from engine.process.gpu_thread import GpuThread
from engine.process.log_context import LogContext
from engine.sampling.unet_call import UNetCall
from tests.toy import toy_draw


def pixels(task: Draw) -> np.ndarray:
    """A task's picture."""
    with Image.open(task.outputs[0]) as picture:
        return np.asarray(picture.convert("RGB"), np.int16)


class Drawing:
    """A thread that draws as an engine's does, what it said, and how many rows each of its UNet calls had."""

    def __init__(self, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        self.heard: list = []
        self.rows: list[int] = []
        self.gpu = GpuThread(lambda: pipeline, self.hear, Heartbeat(), LogContext())
        self.pipeline, on = pipeline, UNetCall.on

        def counted(call, unet):
            self.rows.append(len(call.x))
            return on(call, unet)

        monkeypatch.setattr(UNetCall, "on", counted)
        self.at_step = lambda message: None

    def hear(self, message) -> None:
        self.heard.append(message)
        self.at_step(message)

    def draw(self, tasks: list[Draw]) -> dict[str, Ended]:
        """Have these drawn together; how each ended."""
        for task in tasks:
            self.gpu.interruptions[task.task_id] = Interruption()
        self.gpu.run_together(self.pipeline, tasks)
        return {message.task_id: message for message in self.heard if isinstance(message, Ended)}

    def of(self, task: Draw, kind: type) -> list:
        """What was said of a task."""
        return [message for message in self.heard if isinstance(message, kind) and message.task_id == task.task_id]


@pytest.fixture
def drawing(pipeline, monkeypatch):
    return Drawing(pipeline, monkeypatch)


def tasks_in(folder: Path, number: int, **changes) -> list[Draw]:
    """Tasks that differ in words and seed."""
    return [
        toy_draw(folder, f"task{n}", prompt=f"a cat, number {n}", image_seed=50 + n, **changes) for n in range(number)
    ]


def alone(pipeline: Pipeline, folder: Path, task: Draw) -> np.ndarray:
    """The picture of a task that is drawn by itself."""
    (folder / "alone").mkdir(exist_ok=True)
    task = toy_draw(folder / "alone", task.task_id, **{name: task.params[name] for name in ("prompt", "image_seed")})
    assert pipeline.draw(task, lambda message: None).outcome == "finished"
    return pixels(task)


@pytest.mark.parametrize("number", [2, 3])
def test_each_has_its_own_picture_from_common_calls(drawing, pipeline, tmp_path, number):
    tasks = tasks_in(tmp_path, number)
    ended = drawing.draw(tasks)
    assert set(drawing.rows) == {2 * number}
    for task in tasks:
        assert ended[task.task_id].outcome == "finished" and TOGETHER in ended[task.task_id].notes
        assert [done.index for done in drawing.of(task, PictureDone)] == [0]
        steps = [message.step for message in drawing.of(task, Progressed) if message.step]
        assert steps == [1, 2, 3]
        assert np.abs(pixels(task) - alone(pipeline, tmp_path, task)).max() <= 1
    assert np.abs(pixels(tasks[0]) - pixels(tasks[1])).max() > 8


def test_drawn_together_again_they_are_the_same_bytes(drawing, tmp_path):
    pictures = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        tasks = tasks_in(tmp_path / name, 2)
        drawing.draw(tasks)
        pictures.append([Path(task.outputs[0]).read_bytes() for task in tasks])
    assert pictures[0] == pictures[1]


def test_one_is_stopped_and_the_others_go_on(drawing, pipeline, tmp_path):
    stopped, other = tasks = tasks_in(tmp_path, 2)

    def stop_at_first_step(message):
        if isinstance(message, Progressed) and message.task_id == stopped.task_id and message.step == 1:
            drawing.gpu.interruptions[stopped.task_id].stop()

    drawing.at_step = stop_at_first_step
    ended = drawing.draw(tasks)
    assert [ended[task.task_id].outcome for task in tasks] == ["stopped", "finished"]
    assert not drawing.of(stopped, PictureDone)
    assert np.abs(pixels(other) - alone(pipeline, tmp_path, other)).max() <= 1
    assert drawing.rows[0] == 4 and drawing.rows[-1] == 2


def test_a_skipped_picture_is_one_task_s_alone(drawing, tmp_path):
    first, second = tasks = tasks_in(tmp_path, 2, image_number=2)

    def skip_at_first_step(message):
        if isinstance(message, Progressed) and message.task_id == first.task_id and message.step == 1:
            drawing.at_step = lambda message: None
            drawing.gpu.interruptions[first.task_id].skip()

    drawing.at_step = skip_at_first_step
    ended = drawing.draw(tasks)
    assert [len(drawing.of(task, PictureDone)) for task in tasks] == [1, 2]
    assert "Image 1 was skipped" in ended[first.task_id].notes
    assert not any("skipped" in note for note in ended[second.task_id].notes)


def test_one_fails_and_the_others_go_on(drawing, tmp_path):
    good, broken = tasks_in(tmp_path, 2)
    broken = toy_draw(tmp_path, "broken", checkpoint=tmp_path / "gone.safetensors")
    ended = drawing.draw([good, broken])
    assert ended["broken"].outcome == "failed" and "gone.safetensors" in ended["broken"].error
    assert ended[good.task_id].outcome == "finished" and TOGETHER not in ended[good.task_id].notes


def test_those_that_are_not_alike_are_drawn_all_the_same(drawing, tmp_path):
    tasks = [toy_draw(tmp_path, "small"), toy_draw(tmp_path, "large", aspect_ratios_selection="128×128")]
    ended = drawing.draw(tasks)
    assert [message.outcome for message in ended.values()] == ["finished"] * 2 and set(drawing.rows) == {2}


def test_without_memory_for_all_each_is_drawn_alone(drawing, tmp_path, monkeypatch):
    on = UNetCall.on

    def full(call, unet):
        if len(call.x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return on(call, unet)

    monkeypatch.setattr(UNetCall, "on", full)
    tasks = tasks_in(tmp_path, 2)
    ended = drawing.draw(tasks)
    assert [ended[task.task_id].outcome for task in tasks] == ["finished"] * 2


def test_a_call_that_fails_fails_all_that_waited_for_it(drawing, tmp_path, monkeypatch):
    def broken(call, unet):
        raise TypeError("broken")

    monkeypatch.setattr(UNetCall, "on", broken)
    tasks = tasks_in(tmp_path, 3)
    ended = drawing.draw(tasks)
    assert [ended[task.task_id].outcome for task in tasks] == ["failed"] * 3


def test_an_engine_gathers_those_that_belong_together(pipeline, tmp_path):
    heard: list = []
    gpu = GpuThread(lambda: pipeline, heard.append, Heartbeat(), LogContext())
    first, second, third = tasks_in(tmp_path, 3)
    gpu.tasks.put(None)  # a look that was taken meanwhile
    gpu.tasks.put(second), gpu.tasks.put(third)
    together = gpu.with_others(Draw(**{**vars(first), "together": 2}))
    assert [task.task_id for task in together] == [first.task_id, second.task_id] and gpu.tasks.get() is third
    assert isinstance(gpu, Thread)
