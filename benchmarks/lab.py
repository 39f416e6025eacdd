"""Where parts of a step are timed on a GPU: a clock, random weights and calls, a table that is kept as it grows."""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.make_checkpoint import SIZES, Size, random_of
from engine.gpu.compiled_kernels import Kernels
from engine.sampling.unet_call import UNetCall


class Late(Exception):
    """No time is left."""


@dataclass
class Lab:
    """Where it runs and what it has found; `deadline` is when no further variant is begun."""

    device: torch.device
    size: Size
    latent: tuple[int, int]
    out: Path | None
    deadline: float
    kernels: Kernels = field(default_factory=Kernels)
    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def dtype(self) -> torch.dtype:
        """The UNet's number format."""
        return torch.float16 if self.device.type == "cuda" else torch.float32

    def say(self, title: str, **figures: Any) -> None:
        """One row of the table, at once, and into the file."""
        line = f"{title:<46}  " + "  ".join(f"{name} {_short(value)}" for name, value in figures.items())
        print(line, flush=True)
        self.lines.append(line)
        self.figures[title] = figures
        if self.out is not None:
            (self.out / "step_lab.txt").write_text("\n".join(self.lines) + "\n")
            (self.out / "step_lab.json").write_text(json.dumps(self.figures) + "\n")

    @contextmanager
    def trying(self, title: str) -> Iterator[None]:
        """A part that may fail, or come too late; its memory is given back."""
        try:
            yield
        except Late:
            self.say(title, left_out="no time")
        except Exception as error:
            traceback.print_exc(limit=-4)
            self.say(title, failed=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
        finally:
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def in_time(self) -> None:
        """Whether there is time for another part.

        Raises:
            Late: there is not.
        """
        if time.perf_counter() > self.deadline:
            raise Late


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def filled(module: Callable[[Size], Any], size: Size, device: torch.device, dtype: torch.dtype) -> Any:
    """A module with the same random weights each time."""
    with torch.device("meta"):
        made = module(size)
    generator = torch.Generator(device).manual_seed(0)
    weights = {
        name: random_of(name, tuple(meta.shape), generator).to(dtype) for name, meta in made.state_dict().items()
    }
    made.load_state_dict(weights, assign=True)
    return made.requires_grad_(False).eval()


def call_of(lab: Lab, rows: int = 2, dtype: torch.dtype | None = None) -> UNetCall:
    """A call with random values, the same each time."""
    generator = torch.Generator("cpu").manual_seed(1)
    width, height = lab.latent

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(lab.device, dtype or lab.dtype)

    text_width = lab.size.clip_l[0] + lab.size.clip_g[0]
    x = random(1, 4, height, width).repeat(rows, 1, 1, 1)
    context, pooled = random(2, 77, text_width), random(2, lab.size.clip_g[0])
    sizes = torch.tensor([[896, 1152, 0, 0, 896, 1152]], dtype=torch.float32, device=lab.device).repeat(rows, 1)
    there = torch.full((), 500.0, device=lab.device)
    return UNetCall(x, there, context.repeat(rows // 2, 1, 1), pooled.repeat(rows // 2, 1), sizes)


def milliseconds(lab: Lab, work: Callable[[], Any], repeats: int = 20, warm: int = 3) -> float:
    """The median time of some GPU work; of one try on a processor."""
    if lab.device.type != "cuda":
        repeats, warm = 1, 0
    for _ in range(warm):
        work()
    times = []
    for _ in range(repeats):
        if lab.device.type != "cuda":
            started = time.perf_counter()
            work()
            times.append(1000 * (time.perf_counter() - started))
            continue
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def recorded(lab: Lab, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Work as a CUDA graph."""
    work()
    if lab.device.type != "cuda":
        return work
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = work()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay


def relative(output: Tensor, wanted: Tensor) -> float:
    """‖output − wanted‖ / ‖wanted‖."""
    return float((output.float() - wanted.float()).norm() / wanted.float().norm())


def begun(parser: argparse.ArgumentParser, seconds: float) -> tuple[Lab, argparse.Namespace]:
    """A lab as the command line wants it, with what every lab's has beside `parser`'s own; its kernels are compiled."""
    parser.add_argument("--tiny", action="store_true", help="tiny parts on any machine: a dry run")
    parser.add_argument("--seconds", type=float, default=seconds, help="after so long nothing more is begun")
    parser.add_argument("--out", type=Path, help="a folder for the tables")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() and not arguments.tiny else "cpu")
    if device.type == "cpu" and not arguments.tiny:
        parser.error("there is no CUDA device; --tiny runs anywhere")
    size, latent = SIZES["tiny" if arguments.tiny else "sdxl"], (8, 8) if arguments.tiny else (144, 112)
    lab = Lab(device, size, latent, arguments.out, time.perf_counter() + arguments.seconds)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "processor"
    lab.say("device", name=name, torch=torch.__version__)
    with lab.trying("compiling our kernels"), torch.inference_mode():
        from engine.gpu import kernels

        started = time.perf_counter()
        if device.type == "cuda":
            for dtype in (torch.float16, torch.bfloat16):
                kernels.try_all(device, dtype)
        lab.kernels.now = kernels
        lab.say("compiling our kernels", s=time.perf_counter() - started)
    return lab, arguments
