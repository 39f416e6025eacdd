"""What a denoising step of SDXL's size is made of on a GPU, and what each way of computing it costs.

    python -m benchmarks.step_lab            1152×896, a batch of two, fp16, replayed from CUDA graphs
    python -m benchmarks.step_lab --tiny     a dry run on a processor (Triton's interpreter is needed there)

Every variant is timed by itself (median of replays); its error is that of its output against the library's modules in
fp16 (`vs lib`) and against the same weights in fp32 (`vs fp32`; the library's own is the yardstick). One that fails
says why, and the next goes on. `--out FOLDER` gets the tables as they come.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import conv2d, group_norm, layer_norm, linear, scaled_dot_product_attention, silu

from benchmarks.lab import Lab, begun, call_of, filled, milliseconds, recorded, relative
from benchmarks.make_checkpoint import vae_module
from benchmarks.step_variants import BACKENDS, COMPILED, VARIANTS, in_fp32, measure, profile, unet_of
from engine.gpu.fused import fuse
from engine.sampling.graphs import CudaGraph


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


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time the ways to compute a denoising step.")
    parser.add_argument("--compile", action="store_true", help="only what torch.compile makes of the blocks")
    lab, arguments = begun(parser, seconds=140)
    (run_compiled if arguments.compile else run)(lab)
    print("\n" + "\n".join(lab.lines))


if __name__ == "__main__":
    main()
