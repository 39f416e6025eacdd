"""What a denoising step of SDXL's size is made of on a GPU, and what each way of computing it costs.

    python -m benchmarks.step_lab            1152×896, a batch of two, fp16, replayed from CUDA graphs
    python -m benchmarks.step_lab --tiny     a dry run on a processor (Triton's interpreter is needed there)

Every variant is timed by itself (median of replays); its error is that of its output against the library's modules in
fp16 (`vs lib`) and against the same weights in fp32 (`vs fp32`; the library's own is the yardstick). One that fails
says why, and the next goes on. `--out FOLDER` gets the tables as they come.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import conv2d, group_norm, layer_norm, linear, scaled_dot_product_attention, silu

from benchmarks.make_checkpoint import SIZES, Size, random_of, unet_module, vae_module
from engine.gpu.compiled_kernels import Kernels
from engine.gpu.fused import fuse
from engine.sampling.graphs import CudaGraph
from engine.sampling.unet_call import UNetCall

BACKENDS = {
    "flash": [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION],
    "efficient": [SDPBackend.EFFICIENT_ATTENTION],
    "cudnn": [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION],
}
STEP_TFLOP = 13.29


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


def products(lab: Lab) -> None:
    """How fast the largest matrix products, convolutions and attentions of a step are by themselves."""
    big = lab.device.type == "cuda"
    rows = ((2016, 1280), (8064, 640)) if big else ((32, 64),)
    for tokens, width in rows:
        with lab.trying(f"products at {width}"), torch.inference_mode():
            lab.in_time()
            told: dict[str, Any] = {}
            for name, n, k in (("out", width, width), ("qkv", 3 * width, width), ("gate", 8 * width, width),
                               ("back", width, 4 * width)):  # fmt: skip
                x, weight, bias = (
                    torch.randn(shape, device=lab.device).to(lab.dtype) for shape in ((tokens, k), (n, k), n)
                )
                told[f"{name} TF/s"] = _rate(lab, 2 * tokens * n * k, lambda x=x, w=weight, b=bias: linear(x, w, b))
            lab.say(f"products at {width}", **told)
    for heads, tokens in ((20, 1008), (10, 4032)) if big else ((2, 16),):
        for backend, choice in (BACKENDS if big else {"math": [SDPBackend.MATH]}).items():
            with (
                lab.trying(f"attention {heads}×{tokens}, {backend}"),
                torch.inference_mode(),
                sdpa_kernel(choice, set_priority=True),
            ):
                lab.in_time()
                told = {}
                for name, keys in (("self", tokens), ("cross", 77)):
                    q = torch.randn(2, tokens, heads, 64, device=lab.device).to(lab.dtype).transpose(1, 2)
                    k = torch.randn(2, keys, heads, 64, device=lab.device).to(lab.dtype).transpose(1, 2)
                    work = recorded(lab, lambda q=q, k=k: scaled_dot_product_attention(q, k, k))
                    told[f"{name} µs"] = 1000 * milliseconds(lab, work)
                lab.say(f"attention {heads}×{tokens}, {backend}", **told)
    for channels, wide, height, width in ((320, 320, 112, 144), (640, 640, 56, 72), (1280, 1280, 28, 36),
                                          (960, 320, 112, 144)) if big else ((32, 32, 8, 8),):  # fmt: skip
        with lab.trying(f"convolution {channels}→{wide}"), torch.inference_mode():
            lab.in_time()
            told = {}
            for name, layout in (("nchw", torch.contiguous_format), ("nhwc", torch.channels_last)):
                x = (
                    torch.randn(2, channels, height, width, device=lab.device)
                    .to(lab.dtype)
                    .contiguous(memory_format=layout)
                )
                weight = (
                    torch.randn(wide, channels, 3, 3, device=lab.device).to(lab.dtype).contiguous(memory_format=layout)
                )
                flop = 2 * 2 * height * width * wide * channels * 9
                told[f"{name} TF/s"] = _rate(lab, flop, lambda x=x, w=weight: conv2d(x, w, padding=1))
                with torch.backends.cudnn.flags(enabled=True, benchmark=True):
                    told[f"{name} searched"] = _rate(lab, flop, lambda x=x, w=weight: conv2d(x, w, padding=1))
            lab.say(f"convolution {channels}→{wide}", **told)


def _rate(lab: Lab, flop: float, work: Callable[[], Tensor]) -> float:
    return flop / milliseconds(lab, recorded(lab, work)) / 1e9


def passes(lab: Lab) -> None:
    """Our kernels beside torch's."""
    from engine.gpu import kernels

    big = lab.device.type == "cuda"
    for channels, height, width in (
        ((320, 112, 144), (960, 112, 144), (640, 56, 72), (1280, 28, 36)) if big else ((32, 4, 4),)
    ):
        with lab.trying(f"group norm and SiLU {channels}"), torch.inference_mode():
            lab.in_time()
            x = torch.randn(2, channels, height, width, device=lab.device).to(lab.dtype)
            norm = torch.nn.GroupNorm(32, channels).to(lab.device, lab.dtype)
            theirs = recorded(lab, lambda x=x, n=norm: silu(group_norm(x, 32, n.weight, n.bias)))
            last = x.contiguous(memory_format=torch.channels_last)
            ours = recorded(lab, lambda x=last, n=norm: kernels.group_norm(x, n, silu=True))
            lab.say(f"group norm and SiLU {channels}×{height}×{width}", torch_us=1000 * milliseconds(lab, theirs),
                    ours_us=1000 * milliseconds(lab, ours), error=relative(ours(), theirs()))  # fmt: skip
    for tokens, width in ((2016, 1280), (8064, 640)) if big else ((8, 64),):
        with lab.trying(f"rows {width}"), torch.inference_mode():
            lab.in_time()
            x, y, wide = (torch.randn(tokens, n, device=lab.device).to(lab.dtype) for n in (width, width, 8 * width))
            norm = torch.nn.LayerNorm(width).to(lab.device, lab.dtype)
            pairs = {
                "sum and norm": (lambda x=x, y=y, n=norm: layer_norm(x + y, n.normalized_shape, n.weight, n.bias),
                                 lambda x=x, y=y, n=norm: kernels.added_layer_norm(x, y, n)[1]),
                "gate": (lambda w=wide: w.chunk(2, -1)[0] * torch.nn.functional.gelu(w.chunk(2, -1)[1]),
                         lambda w=wide: kernels.gated(w)),
            }  # fmt: skip
            for name, (theirs, ours) in pairs.items():
                a, b = recorded(lab, theirs), recorded(lab, ours)
                lab.say(f"{name} {tokens}×{width}", torch_us=1000 * milliseconds(lab, a),
                        ours_us=1000 * milliseconds(lab, b), error=relative(b(), a()))  # fmt: skip


DECODERS: tuple[tuple[str, tuple[str, ...], bool], ...] = (
    ("library", (), False),
    ("library, cuDNN benchmark", (), True),
    ("fused", ("picture",), False),
    ("fused, cuDNN benchmark", ("picture",), True),
)


def decoding(lab: Lab) -> None:
    """The VAE's decoding, the library's modules and fused."""
    dtype = torch.bfloat16 if lab.device.type == "cuda" else torch.float32
    width, height = lab.latent
    reference, exact = torch.empty(0), None
    with lab.trying("decoding in fp32"), torch.inference_mode():
        lab.in_time()
        latent = torch.randn(1, 4, height, width, device=lab.device)
        exact = filled(vae_module, lab.size, lab.device, dtype).float().decode(latent).sample
    for name, parts, benchmark in DECODERS:
        with lab.trying(f"decoding, {name}"), torch.inference_mode():
            lab.in_time()
            vae = filled(vae_module, lab.size, lab.device, dtype)
            if parts:
                fuse(vae, lab.kernels, parts)
            given = latent.to(dtype)
            with torch.backends.cudnn.flags(enabled=True, benchmark=benchmark):
                output = vae.decode(given).sample
                spent = milliseconds(lab, lambda v=vae, g=given: v.decode(g).sample, repeats=5, warm=1)
            reference = reference if len(reference) else output
            told = {"vs lib": relative(output, reference)}
            if exact is not None:
                told["vs fp32"] = relative(output, exact)
            peak = torch.cuda.max_memory_allocated() / 2**30 if lab.device.type == "cuda" else 0.0
            lab.say(f"decoding, {name}", ms=spent, **told, peak_gib=peak)


def copies(lab: Lab) -> None:
    """How long launching a step takes while another thread fetches a small picture that is not finished yet.

    "waiting copy" asks for it at once, from pageable memory, and so waits inside the copy; "pinned" queues the copy
    and waits for an event.
    """
    if lab.device.type != "cuda":
        return
    with lab.trying("launching beside a fetch"), torch.inference_mode():
        lab.in_time()
        unet, call = unet_of(lab, VARIANTS[0]), call_of(lab)
        call.on(unet)
        graph = CudaGraph(unet, call, None)
        side = torch.cuda.Stream()
        picture = torch.zeros(224, 288, 3, dtype=torch.uint8, device=lab.device)
        small = torch.zeros(1, device=lab.device)

        def waiting(mark: torch.cuda.Event) -> None:
            with torch.cuda.stream(side):
                side.wait_event(mark)
                picture.cpu()

        def waited(mark: torch.cuda.Event) -> None:
            mark.synchronize()
            with torch.cuda.stream(side):
                picture.cpu()

        def pinned(mark: torch.cuda.Event) -> None:
            mark.synchronize()

        for name, fetch in {
            "nobody": None,
            "waiting copy": waiting,
            "waits, then copies": waited,
            "pinned": pinned,
        }.items():
            spent = []
            for _ in range(6):
                torch.cuda.synchronize()
                graph.replay(call)
                if fetch is pinned:
                    picture.to("cpu", non_blocking=True)
                mark = torch.cuda.Event()
                mark.record()
                thread = threading.Thread(target=fetch, args=(mark,)) if fetch else None
                if thread:
                    thread.start()
                time.sleep(0.002)
                started = time.perf_counter()
                for _ in range(100):
                    small.add_(1)
                little = time.perf_counter() - started
                graph.replay(call)
                spent.append((1000 * little, 1000 * (time.perf_counter() - started)))
                if thread:
                    thread.join()
            little, whole = (statistics.median(column) for column in zip(*spent, strict=True))
            lab.say(f"launching, beside: {name}", hundred_small_ms=little, with_a_step_ms=whole)


def pictures_on_the_host(lab: Lab) -> None:
    """Previews and pictures encoded on the host."""
    import numpy as np

    from engine.images import codecs

    random = np.random.default_rng(0)
    noise = random.integers(0, 255, (224, 288, 3), np.uint8)
    large = random.integers(0, 255, (896, 1152, 3), np.uint8)
    with lab.trying("encoding"):
        lab.in_time()
        for name, work in {
            "a preview": lambda: codecs.encode_small_png(noise),
            "a picture": lambda: codecs.encode_png(large),
        }.items():
            spent = []
            for _ in range(5):
                started = time.perf_counter()
                work()
                spent.append(1000 * (time.perf_counter() - started))
            lab.say(f"encoding {name}", ms=statistics.median(spent))


def run(lab: Lab) -> None:
    """Everything but compilation, the most telling first."""
    fp32 = in_fp32(lab)
    reference = torch.empty(0)
    for variant in VARIANTS:
        output = measure(lab, variant, reference, fp32)
        if output is not None and not len(reference):
            reference = output
    fused = next(variant for variant in VARIANTS if variant.name == "all fused")
    for variant in (VARIANTS[0], fused):
        profile(lab, variant)
    for part in (decoding, copies, passes, products, pictures_on_the_host):
        with lab.trying(part.__name__):
            lab.in_time()
            part(lab)


def run_compiled(lab: Lab) -> None:
    """What torch.compile makes of the blocks: the first time, and from its cache on disk."""
    reference = torch.empty(0)
    output = measure(lab, VARIANTS[0], reference, None)
    for variant in COMPILED:
        for turn in ("cold", "warm"):
            torch.compiler.reset()
            measure(
                lab,
                replace(variant, name=f"{variant.name}, {turn} cache"),
                reference if output is None else output,
                None,
            )


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


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time the ways to compute a denoising step.")
    parser.add_argument("--compile", action="store_true", help="only what torch.compile makes of the blocks")
    lab, arguments = begun(parser, seconds=140)
    (run_compiled if arguments.compile else run)(lab)
    print("\n" + "\n".join(lab.lines))


if __name__ == "__main__":
    main()
