"""The ways to compute a whole step: what each costs, how far it is from the library's, which kernels it is made of."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.lab import Lab, call_of, filled, milliseconds, relative
from benchmarks.make_checkpoint import unet_module
from engine.gpu.fused import fuse
from engine.sampling.graphs import CudaGraph
from engine.sampling.unet_call import UNetCall

BACKENDS = {
    "flash": [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION],
    "efficient": [SDPBackend.EFFICIENT_ATTENTION],
    "cudnn": [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION],
}
STEP_TFLOP = 13.29


@dataclass
class Variant:
    """A way to compute a step."""

    name: str
    fused: tuple[str, ...] = ()
    attention: str | None = None
    benchmark: bool = False
    change: Callable[[Lab, Any, UNetCall], None] | None = None
    rows: int = 2


def compiled_blocks(lab: Lab, unet: Any, call: UNetCall) -> None:
    """Transformer blocks and resnets compiled by torch, each shape once."""
    torch._dynamo.config.recompile_limit = 64
    for part in unet.modules():
        if type(part).__name__ in ("BasicTransformerBlock", "ResnetBlock2D"):
            part.compile(dynamic=False)


def channels_last(lab: Lab, unet: Any, call: UNetCall) -> None:
    """The library's modules, weights channels-last."""
    unet.to(memory_format=torch.channels_last)


ALL = ("attention", "row", "picture")
VARIANTS = [
    Variant("library, as is"),
    Variant("library, flash attention", attention="flash"),
    Variant("library, cuDNN attention", attention="cudnn"),
    Variant("library, efficient attention", attention="efficient"),
    Variant("library, channels-last", change=channels_last),
    Variant("library, cuDNN benchmark", benchmark=True),
    Variant("joined projections", ("attention",)),
    Variant("rows fused", ("row",)),
    Variant("pictures fused, channels-last", ("picture",)),
    Variant("all fused", ALL),
    Variant("all fused, cuDNN attention", ALL, "cudnn"),
    Variant("all fused, flash attention", ALL, "flash"),
    Variant("all fused, cuDNN benchmark", ALL, benchmark=True),
    Variant("all fused, cuDNN both", ALL, "cudnn", benchmark=True),
    Variant("library, batch of 8", rows=8),
    Variant("all fused, batch of 8", ALL, rows=8),
]
COMPILED = [
    Variant("library, blocks compiled", change=compiled_blocks),
    Variant(
        "joined + channels-last, blocks compiled",
        ("attention",),
        change=lambda *given: (channels_last(*given), compiled_blocks(*given)),
    ),
]


def unet_of(lab: Lab, variant: Variant) -> Any:
    """A UNet that computes that way."""
    unet = filled(unet_module, lab.size, lab.device, lab.dtype)
    if variant.fused:
        fuse(unet, lab.kernels, variant.fused)
    return unet


@contextmanager
def settings(variant: Variant) -> Iterator[None]:
    """The library's switches while a variant is run."""
    with ExitStack() as stack:
        if variant.attention:
            stack.enter_context(sdpa_kernel(BACKENDS[variant.attention], set_priority=True))
        if variant.benchmark:
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=True))
        yield


def measure(lab: Lab, variant: Variant, reference: Tensor, fp32: Tensor | None) -> Tensor | None:
    """Time one variant and say so."""
    with lab.trying(variant.name), torch.inference_mode():
        lab.in_time()
        started = time.perf_counter()
        unet = unet_of(lab, variant)
        call = call_of(lab, variant.rows)
        if variant.change is not None:
            variant.change(lab, unet, call)
        with settings(variant):
            first = call.on(unet)
            eager = time.perf_counter() - started
            replay = _replay(lab, unet, call)
            output = replay()
            step = milliseconds(lab, replay)
        told = {"ms": step, "of limit": STEP_TFLOP * variant.rows / 2 / step / 0.75}
        if variant.rows != 2:
            told = {"ms": step, "ms a picture": 2 * step / variant.rows}
        if len(reference):
            told["vs lib"] = relative(output[:2], reference)
        if fp32 is not None:
            told["vs fp32"] = relative(output[:2], fp32)
        again = replay()
        same = bool(torch.equal(again, output)) and bool(torch.equal(first, output))
        lab.say(variant.name, **told, same=same, first_s=eager)
        return output.clone()
    return None


def _replay(lab: Lab, unet: Any, call: UNetCall) -> Callable[[], Tensor]:
    if lab.device.type != "cuda":
        return lambda: call.on(unet)
    graph = CudaGraph(unet, call, None)
    return lambda: graph.replay(call)


def in_fp32(lab: Lab) -> Tensor | None:
    """The step's output with the same weights in fp32."""
    with lab.trying("in fp32"), torch.inference_mode():
        lab.in_time()
        unet = filled(unet_module, lab.size, lab.device, lab.dtype).float()
        call = call_of(lab).mapped(Tensor.float)
        return call.on(unet).clone()
    return None


KINDS = {
    "attention": ("flash", "fmha", "attention", "sdpa"),
    "convolution": ("conv", "implicit", "fprop", "wgrad", "nchw", "nhwc", "cudnn"),
    "matrix product": ("gemm", "cublas", "nvjet", "cutlass", "matmul", "splitk"),
    "norm": ("norm", "moments", "scales_kernel", "scaled_kernel", "rowwise"),
}


def kind_of(kernel: str) -> str:
    """What a kernel does, by its name."""
    name = kernel.lower()
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "between")


def profile(lab: Lab, variant: Variant, most: int = 15) -> None:
    """A step's kernels by time, eager, and their sums by kind."""
    title = f"kernels: {variant.name}"
    with lab.trying(title), torch.inference_mode(), settings(variant):
        lab.in_time()
        unet, call = unet_of(lab, variant), call_of(lab)
        for _ in range(2):
            call.on(unet)
        activities = [torch.profiler.ProfilerActivity.CPU]
        if lab.device.type == "cuda":
            torch.cuda.synchronize()
            activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profiled:
            call.on(unet)
            if lab.device.type == "cuda":
                torch.cuda.synchronize()
        times: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for event in profiled.events():
            spent = getattr(event, "device_time", 0) if lab.device.type == "cuda" else event.cpu_time
            if spent > 0:
                times[event.name] += spent / 1000
                counts[event.name] += 1
        by_kind: Counter[str] = Counter()
        for name, spent in times.items():
            by_kind[kind_of(name)] += spent
        lab.say(title, in_all=sum(times.values()), launches=sum(counts.values()), **dict(by_kind.most_common()))
        for name, spent in times.most_common(most):
            print(f"    {spent:7.3f} ms {counts[name]:5d}× {kind_of(name):<15} {name[:110]}", flush=True)
