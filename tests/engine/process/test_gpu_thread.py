"""Looks at pictures beside the drawing, where a GPU's memory is full."""

import pytest
import torch

from engine.heartbeat import Heartbeat
from engine.messages import Look
from engine.pipeline.pipeline import Pipeline
from engine.process.gpu_thread import GpuThread
from engine.process.log_context import LogContext
from engine.vision import inspect as inspection
from tests.engine.pipeline.test_pipeline import drawn


@pytest.mark.parametrize(("times", "cause"), [(1, "engine"), (2, "memory")])
def test_a_look_that_runs_out_of_memory_has_the_models_leave_and_is_taken_once_more(
    toy, tmp_path, monkeypatch, times, cause
):
    pipeline, held, failures = Pipeline("cpu", builtin=toy), [], times * [torch.OutOfMemoryError("CUDA out of memory")]
    drawn(pipeline, tmp_path)
    thread = GpuThread(lambda: pipeline, lambda _: None, Heartbeat(), LogContext())
    thread.pipeline = pipeline
    inspect = inspection.inspect

    def full(store, look):
        parts = pipeline.renderer.residency.parts
        held.append((len(parts), sum(part.held for part in parts)))
        if failures:
            raise failures.pop()
        return inspect(store, look)

    monkeypatch.setattr(inspection, "inspect", full)
    picture = (tmp_path / "task-0.png").read_bytes()
    seen = thread.seen(Look("look", "nothing known", {}, picture))
    assert seen.cause == cause and ("nobody looks" in seen.error) == (times == 1)
    assert held == [(0, 0), (3, 0)]
    monkeypatch.undo()
    _, ended = drawn(pipeline, tmp_path, task_id="again")
    assert ended.drawn_with["memory"] == {"plan": "resident"}
    assert (tmp_path / "again-0.png").read_bytes() == picture
