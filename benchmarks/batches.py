"""Tasks drawn as one batch on a CUDA machine: seconds a picture at 1, 2, 4 and 8 tasks, in the engine.

    python -m benchmarks.batches --models FOLDER            with checkpoints/base.safetensors there
    python -m benchmarks.batches                            the built-in model, anywhere
    python -m benchmarks.batches --tiny                     a dry run

Each number is drawn three times, the last of which counts; then every picture is compared with that of the same request
drawn alone: whether it is the same to the byte of its pixels, and the least PSNR.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.gpu import request, show
from benchmarks.parity_models import BASE
from benchmarks.processor import distance
from engine.files.catalogue import Folders
from engine.heartbeat import Heartbeat
from engine.interruption import Interruption
from engine.messages import Draw, Ended, Message
from engine.pipeline.pipeline import TOGETHER, Pipeline
from engine.process.gpu_thread import GpuThread
from engine.process.log_context import LogContext

NUMBERS = (1, 2, 4, 8)


def tasks_of(number: int, folder: Path, checkpoint: Path | None, steps: int, size: str) -> list[Draw]:
    """Requests that differ in words and seeds."""
    found = []
    for n in range(number):
        (folder / str(n)).mkdir(parents=True, exist_ok=True)
        changes = {"prompt": f"a lighthouse on a cliff, number {n}", "image_seed": 100 + n}
        task = request(folder / str(n), checkpoint, steps, size, **changes)
        found.append(Draw(**{**vars(task), "task_id": f"task{n}"}))
    return found


def drawn(pipeline: Pipeline, tasks: list[Draw]) -> tuple[float, bool]:
    """Seconds that these take together, and whether calls were made for several."""
    heard: list[Message] = []
    gpu = GpuThread(lambda: pipeline, heard.append, Heartbeat(), LogContext())
    gpu.interruptions.update({task.task_id: Interruption() for task in tasks})
    begun = time.perf_counter()
    if len(tasks) == 1:
        gpu.run_one(pipeline, tasks[0])
    else:
        gpu.run_together(pipeline, tasks)
    seconds = time.perf_counter() - begun
    ended = [message for message in heard if isinstance(message, Ended)]
    assert [message.outcome for message in ended] == ["finished"] * len(tasks), ended
    return seconds, all(TOGETHER in message.notes for message in ended)


def picture(task: Draw) -> np.ndarray:
    """What was drawn, `[h, w, 3]`."""
    with Image.open(task.outputs[0]) as image:
        return np.asarray(image.convert("RGB"), np.float64)


def main() -> None:
    """Print the seconds a picture, and how far the pictures are from those drawn alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="a folder with checkpoints/" + BASE)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    steps, size = (2, "128×96") if arguments.tiny else (arguments.steps, "1152×896")
    checkpoint = arguments.models / "checkpoints" / BASE if arguments.models else None
    pipeline = Pipeline("cuda" if torch.cuda.is_available() else "cpu", Folders.below(arguments.models or Path()))
    if pipeline.kernels is not None:
        pipeline.kernels.wait()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        alone = {}
        for task in tasks_of(max(NUMBERS), Path(place) / "alone", checkpoint, steps, size):
            drawn(pipeline, [task])
            alone[task.task_id] = picture(task)
        for number in NUMBERS:
            tasks = tasks_of(number, Path(place) / str(number), checkpoint, steps, size)
            seconds, joined = [drawn(pipeline, tasks) for _ in range(3)][-1]
            apart = [distance(picture(task), alone[task.task_id]) for task in tasks]
            figures[str(number)] = {
                "s": round(seconds / number, 3),
                "joined": joined,
                "PSNR": round(min(*apart, 99.0), 1),
            }
            show(f"{number} at once, each", figures[str(number)])
        if torch.cuda.is_available():
            show("peak memory", {"GiB": round(torch.cuda.max_memory_allocated() / 2**30, 1)})
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
