"""The built-in model on a processor, before and after: the library's modules beside those that compute by oneDNN.

    python -m benchmarks.processor                       512×512, and 1152×896, which is sampled at 768×576
    python -m benchmarks.processor --threads 2 --times 5
    python -m benchmarks.processor --profile             the operations that take longest, too

Both draw the same requests in turn, in one process, so that what else the machine does falls on both alike. Times are
the processor's, not the clock's, unless said otherwise; medians. The pictures' distance is their PSNR in dB.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from engine.process.tuning import tune_process

tune_process(None)

import numpy as np  # noqa: E402 - the settings above come before torch
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402

from benchmarks.gpu import request, show  # noqa: E402
from engine.messages import Ended, Message  # noqa: E402
from engine.models import fill  # noqa: E402
from engine.pipeline.pipeline import Pipeline  # noqa: E402
from engine.sampling.unet import UNet  # noqa: E402
from engine.sampling.unet_call import UNetCall  # noqa: E402

SIZES = ("512×512", "1152×896")
PROMPTS = ("a red apple on a wooden table", "a blue car in front of a house at night", "a dog on a beach")


class Side:
    """A pipeline of its own, and the processor's seconds that its pictures, and the UNet's calls in them, took."""

    def __init__(self, *, by_onednn: bool) -> None:
        self.pipeline, self.by_onednn = Pipeline("cpu"), by_onednn
        self.calls: list[float] = []
        self.pictures: list[float] = []
        self.clock: list[float] = []

    def draw(self, folder: Path, size: str, prompt: str, seed: int) -> np.ndarray:
        """One picture, `[h, w, 3]`, its times noted."""
        used = fill.use_onednn
        fill.use_onednn = used if self.by_onednn else lambda module: None
        on = UNetCall.on
        UNetCall.on = self._timed(on)  # type: ignore[method-assign,assignment]
        try:
            task = request(folder, None, -1, size, prompt=prompt, image_seed=seed)
            begun, started = time.process_time(), time.perf_counter()
            ended: Ended = self.pipeline.draw(task, _heard)
            self.pictures.append(time.process_time() - begun)
            self.clock.append(time.perf_counter() - started)
        finally:
            UNetCall.on = on  # type: ignore[method-assign]
            fill.use_onednn = used
        assert ended.outcome == "finished", ended
        with Image.open(folder / "0.png") as picture:
            return np.asarray(picture.convert("RGB"), np.float64)

    def forget(self) -> None:
        """Begin the counting again."""
        for times in (self.calls, self.pictures, self.clock):
            times.clear()

    def _timed(self, on: Callable[[UNetCall, UNet], Tensor]) -> Callable[[UNetCall, UNet], Tensor]:
        def timed(call: UNetCall, unet: UNet) -> Tensor:
            """A call whose time is noted."""
            begun = time.process_time()
            output = on(call, unet)
            self.calls.append(time.process_time() - begun)
            return output

        return timed


def _heard(message: Message) -> None:
    """What a pipeline says is not needed here."""


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The PSNR of two pictures, in dB; infinite where they are the same."""
    error = float(np.square(one - other).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def compare(before: Side, after: Side, size: str, times: int, folder: Path) -> None:
    """Draw in turn and print both sides' times, their ratios, and how far the pictures are from each other."""
    for side in (before, after):
        side.draw(folder, size, PROMPTS[0], 1)  # loads, and allocates
        side.forget()
    apart = []
    for turn in range(times):
        drawn = [side.draw(folder, size, PROMPTS[turn % len(PROMPTS)], 100 + turn) for side in (before, after)]
        apart.append(distance(*drawn))
    for what, name, unit in (("a UNet call", "calls", 1e3), ("a picture", "pictures", 1), ("a picture", "clock", 1)):
        old, new = (statistics.median(getattr(side, name)) * unit for side in (before, after))
        by = "by the clock, s" if name == "clock" else "processor's " + ("ms" if unit > 1 else "s")
        show(f"{size}: {what}, {by}", {"before": round(old, 2), "now": round(new, 2), "ratio": round(new / old, 3)})
    show(f"{size}: PSNR of the pictures, dB", {"least": round(min(apart), 1), "of": times})


def profiled(side: Side, size: str, folder: Path) -> None:
    """Print the operations of a picture that take longest."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        side.draw(folder, size, PROMPTS[0], 1)
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=40))


def main() -> None:
    """Print the figures of both sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--times", type=int, default=3, help="pictures of each size and side")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    show("threads", {"n": arguments.threads, "vectors": torch.backends.cpu.get_cpu_capability()})
    before, after = Side(by_onednn=False), Side(by_onednn=True)
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            compare(before, after, size, arguments.times, Path(folder))
        if arguments.profile:
            for side in (before, after):
                profiled(side, SIZES[0], Path(folder))


if __name__ == "__main__":
    main()
