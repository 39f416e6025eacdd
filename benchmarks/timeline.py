"""Where a warm picture's time goes on a CUDA machine: before its first step, in steps, between them, after the last.

    python -m benchmarks.timeline --models FOLDER            with what `benchmarks.gpu` or `benchmarks.parity` made
    python -m benchmarks.timeline --models FOLDER --tiny     a dry run anywhere, with a tiny checkpoint

Each row is the last of three pictures with words of their own. Steps and gaps are the GPU's milliseconds, by events
around each recorded UNet call; the rest is the pipeline's. The last line is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu import CASES, request, show
from benchmarks.parity_models import BASE
from engine.files.catalogue import Folders
from engine.messages import Message, PictureDone
from engine.pipeline.pipeline import Pipeline
from engine.sampling.graphs import CudaGraph
from engine.sampling.unet_call import UNetCall

SHOWN = ("again", "again, no preview", "with prompt expansion", "four pictures, each")


class Marks:
    """When each recorded call was launched, and GPU events around it."""

    def __init__(self) -> None:
        self.launched: list[float] = []
        self.events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def around_calls(self) -> Iterator[None]:
        """Have every recorded call marked inside."""
        replay = CudaGraph.replay

        def marked(graph: CudaGraph, call: UNetCall) -> Tensor:
            pair = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            self.launched.append(time.perf_counter())
            pair[0].record()
            output = replay(graph, call)
            pair[1].record()
            self.events.append(pair)
            return output

        patched: Any = CudaGraph
        patched.replay = marked
        try:
            yield
        finally:
            patched.replay = replay

    def told(self, begun: float) -> dict[str, Any]:
        """The milliseconds of calls and between them, and how long after the start the first was launched."""
        if not self.events:
            return {}
        calls = [first.elapsed_time(last) for first, last in self.events]
        gaps = [one[1].elapsed_time(other[0]) for one, other in zip(self.events, self.events[1:], strict=False)]
        return {
            "call_ms": round(statistics.median(calls), 2),
            "gap_ms": round(statistics.median(gaps), 3),
            "worst_gap_ms": round(max(gaps), 2),
            "to_first_ms": round(1000 * (self.launched[0] - begun), 1),
            "steps_ms": round(self.events[0][0].elapsed_time(self.events[-1][1]), 1),
        }


def drawn(pipeline: Pipeline, models: Path, number: int, changes: dict[str, Any], *, tiny: bool) -> dict[str, Any]:
    """The figures of one task."""
    size, steps = ("128×96", 3) if tiny else ("1152×896", 30)
    with tempfile.TemporaryDirectory() as folder:
        words = {"prompt": f"a house beside a lake, number {number}", "image_seed": number}
        task = request(Path(folder), models / "checkpoints" / BASE, steps, size, **changes, **words)
        pictures: list[float] = []
        marks, begun = Marks(), time.perf_counter()

        def hear(message: Message) -> None:
            if isinstance(message, PictureDone):
                pictures.append(time.perf_counter() - begun)

        with marks.around_calls():
            ended = pipeline.draw(task, hear)
        seconds = {f"{stage}_ms": round(1000 * took, 1) for stage, took in ended.seconds.items()}
    assert ended.outcome == "finished", ended
    return {"picture_ms": [round(1000 * when, 1) for when in pictures], **marks.told(begun), **seconds}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="a folder with checkpoints/" + BASE)
    parser.add_argument("--tiny", action="store_true", help="a small picture of three steps: a dry run")
    arguments = parser.parse_args()
    pipeline = Pipeline("cuda" if torch.cuda.is_available() else "cpu", Folders.below(arguments.models))
    if pipeline.kernels is not None:
        pipeline.kernels.wait()
    figures: dict[str, Any] = {}
    numbers = itertools.count(1)
    for title in SHOWN:
        for number in itertools.islice(numbers, 3):
            figures[title] = drawn(pipeline, arguments.models, number, CASES[title], tiny=arguments.tiny)
        show(title, figures[title])
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
