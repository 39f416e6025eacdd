"""The parts of a step by themselves, each beside what it replaces: norms, text attention, guidance, products, words.

    python -m benchmarks.step_parts --seconds 100      on a GPU
    python -m benchmarks.step_parts --tiny             a dry run on a processor (Triton's interpreter is needed there)

Each row is the median of replays of a CUDA graph that holds the work ten times. A part that fails says why, and the
next goes on; the table is printed once more at the end.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention

from benchmarks.lab import Lab, begun, filled, milliseconds, recorded, relative
from benchmarks.make_checkpoint import vae_module
from benchmarks.step_variants import ALL, Variant, in_fp32, measure, profile
from engine.gpu.fused import fuse
from engine.sampling import guidance
from engine.sampling.model_sampling import ModelSampling

TIMES = 10


def microseconds(lab: Lab, work: Callable[[], Any]) -> float:
    """The time of some work among its like."""
    times = TIMES if lab.device.type == "cuda" else 1

    def often() -> Tensor:
        for _ in range(times):
            made = work()
        return made if isinstance(made, Tensor) else made[0]

    return 1000 * milliseconds(lab, recorded(lab, often), repeats=10) / times


def normal(lab: Lab, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    """Random numbers where the lab is."""
    return torch.randn(shape, device=lab.device).to(dtype or lab.dtype)


def steps(lab: Lab) -> None:
    """A whole step: the library's, fused, and fused without the attention kernel."""
    fp32, fused = in_fp32(lab), Variant("all fused", ALL)
    reference = measure(lab, Variant("library, as is"), torch.empty(0), fp32)
    output = measure(lab, fused, torch.empty(0) if reference is None else reference, fp32)
    kernels: Any = lab.kernels.now
    if output is not None and hasattr(kernels, "reads_text"):
        reads, kernels.reads_text = kernels.reads_text, lambda *_: False
        measure(lab, Variant("all fused, the library reads the text", ALL), output, fp32)
        kernels.reads_text = reads
    measure(lab, Variant("all fused, 8 bits", ALL, change=_in_eight_bits), torch.empty(0), fp32)
    profile(lab, fused, most=40)


def _in_eight_bits(lab: Lab, unet: Any, call: Any) -> None:
    from engine.gpu.eight_bit_arithmetic import multiply_in_eight_bits

    multiply_in_eight_bits(unet)


def norms(lab: Lab) -> None:
    """Group norms by the sizes of their programs."""
    from engine.gpu import group_norm as kernels

    big = lab.device.type == "cuda"
    places = ((320, 112, 144), (640, 56, 72), (1280, 28, 36), (960, 112, 144)) if big else ((32, 4, 4),)
    given = [
        (normal(lab, 2, channels, height, width).contiguous(memory_format=torch.channels_last),
         torch.nn.GroupNorm(32, channels).to(lab.device, lab.dtype)) for channels, height, width in places
    ]  # fmt: skip
    usual = kernels.NORMED, kernels.NORM_ROWS, kernels.NORM_WARPS, kernels.PROGRAMS
    rows = [(128, rows, warps) for rows, warps in ((32, 4), (64, 4), (64, 8), (128, 8))]
    for normed, pixels, warps in rows if big else rows[:1]:
        for programs in (528, 1056, 2112, 100000) if big else (4,):
            with lab.trying(f"group norm {normed} {pixels} {warps} {programs}"):
                lab.in_time()
                kernels.NORMED, kernels.NORM_ROWS, kernels.NORM_WARPS, kernels.PROGRAMS = (
                    normed,
                    pixels,
                    warps,
                    programs,
                )
                told = {
                    f"{x.shape[1]}": microseconds(lab, lambda x=x, norm=norm: kernels.group_norm(x, norm, silu=True))
                    for x, norm in given
                }
                lab.say(f"group norm, {normed} channels {pixels} pixels {warps} warps {programs}", **told)
    kernels.NORMED, kernels.NORM_ROWS, kernels.NORM_WARPS, kernels.PROGRAMS = usual


def text_attention(lab: Lab) -> None:
    """The reading of the text, by the sizes of the kernel's programs."""
    from engine.gpu import text_attention as made

    big = lab.device.type == "cuda"
    usual = made.QUERIES, made.KEYS, made.WARPS
    ways = ((64, 32, 4), (64, 32, 2), (128, 32, 4), (128, 32, 8), (64, 16, 4), (32, 32, 2), (32, 16, 2))
    for heads, tokens, keys in ((20, 1008, 77), (10, 4032, 77), (20, 1008, 154)) if big else ((2, 20, 77),):
        query, joined = normal(lab, 2, tokens, heads * 64), normal(lab, 2, keys, 2 * heads * 64)
        key, value = joined.unflatten(-1, (2, heads, 64)).permute(2, 0, 3, 1, 4)
        several = query.unflatten(-1, (heads, 64)).transpose(1, 2)

        def library(several: Tensor = several, key: Tensor = key, value: Tensor = value) -> Tensor:
            return scaled_dot_product_attention(several, key, value).transpose(1, 2).flatten(2)

        told = {"library": microseconds(lab, library)}
        for made.QUERIES, made.KEYS, made.WARPS in ways if big else ways[:1]:
            with lab.trying(f"text attention {made.QUERIES} {made.KEYS} {made.WARPS}"):
                lab.in_time()
                told[f"{made.QUERIES}/{made.KEYS}/{made.WARPS}"] = microseconds(
                    lab, lambda q=query, j=joined, h=heads: made.read_text(q, j, h)
                )
        made.QUERIES, made.KEYS, made.WARPS = usual
        told["error"] = relative(made.read_text(query, joined, heads), library())
        lab.say(f"text attention µs {heads}×{tokens}, {keys} keys", **told)


def rows(lab: Lab) -> None:
    """Norms of rows and gates, by warps."""
    big = lab.device.type == "cuda"
    for tokens, width in ((2016, 1280), (8064, 640)) if big else ((8, 64),):
        x, other, wide = normal(lab, tokens, width), normal(lab, tokens, width), normal(lab, tokens, 8 * width)
        norm = torch.nn.LayerNorm(width).to(lab.device, lab.dtype)
        total, out, gated = torch.empty_like(x), torch.empty_like(x), x.new_empty(tokens, 4 * width)
        columns = 1 << (width - 1).bit_length()
        told: dict[str, Any] = {}
        given = x, other, norm.weight, norm.bias, total, out, width, norm.eps
        for warps in (1, 2, 4, 8) if big else (4,):
            told[f"norm {warps}"] = microseconds(lab, partial(_normed, tokens, given, columns, warps))
        for at_once, warps in ((512, 4), (1024, 4), (1024, 8), (2048, 4), (2048, 8)) if big else ((64, 4),):
            told[f"gate {at_once}/{warps}"] = microseconds(lab, partial(_gated, wide, gated, at_once, warps))
        lab.say(f"rows µs {tokens}×{width}", **told)


def _normed(tokens: int, given: tuple[Any, ...], columns: int, warps: int) -> Tensor:
    from engine.gpu import kernels

    kernels._layer_norm_kernel[tokens,](*given, HAS_RESIDUAL=True, COLS=columns, num_warps=warps)
    return given[5]


def _gated(wide: Tensor, gated: Tensor, at_once: int, warps: int) -> Tensor:
    from engine.gpu import kernels

    grid = len(gated), -(-gated.shape[1] // at_once)
    kernels._gated_kernel[grid](wide, gated, gated.shape[1], COLS=at_once, num_warps=warps)
    return gated


def guiding(lab: Lab) -> None:
    """Guidance with the sharpness filter, the library's operations and two kernels."""
    from engine.gpu import kernels

    width, height = lab.latent
    x = normal(lab, 1, 4, max(height, 8), max(width, 8), dtype=torch.float32)
    output = normal(lab, 2, *x.shape[1:])
    sigma, sampling, how = torch.tensor(3.0), ModelSampling(), (0.5, 4.0, 7.0, 2.0)

    def library() -> Tensor:
        both = sampling.denoised(x, 3.0, output.float())
        return guidance.guided(x, both[1:], both[:1], *how)

    def ours() -> Tensor:
        return guidance.guided_by(kernels, x, output, sampling.parts(sigma), *how)  # type: ignore[arg-type]

    lab.say("guidance µs", library=microseconds(lab, library), kernels=microseconds(lab, ours),
            error=relative(ours(), library()))  # fmt: skip


def encoding(lab: Lab) -> None:
    """The VAE's encoder in bf16: the library's, and fused, against each other and fp32."""
    dtype = torch.bfloat16
    picture = normal(lab, 1, 3, 8 * lab.latent[1], 8 * lab.latent[0], dtype=torch.float32).clamp(-1, 1)
    exact = filled(vae_module, lab.size, lab.device, dtype).float().encode(picture).latent_dist.mean
    reference = torch.empty(0)
    for name in ("library", "decoder fused", "all fused"):
        with lab.trying(f"encoding, {name}"):
            lab.in_time()
            vae = filled(vae_module, lab.size, lab.device, dtype)
            if name != "library":
                fuse(vae if name == "all fused" else vae.decoder, lab.kernels)
            given = picture.to(dtype)
            made = vae.encode(given).latent_dist.mean
            reference = reference if len(reference) else made
            spent = milliseconds(lab, lambda v=vae, g=given: v.encode(g).latent_dist.mean, repeats=5, warm=1)
            lab.say(f"encoding, {name}", ms=spent, vs_library=relative(made, reference), vs_fp32=relative(made, exact))


def eight_bit_products(lab: Lab) -> None:
    """Linear layers in 8 bits by the library's scaled product, beside fp16."""
    if lab.device.type != "cuda":
        return
    eight = torch.float8_e4m3fn
    for tokens, out, width in ((2016, 1280, 1280), (2016, 3840, 1280), (2016, 10240, 1280), (2016, 1280, 5120),
                               (8064, 640, 640), (8064, 1920, 640), (8064, 5120, 640), (8064, 640, 2560)):  # fmt: skip
        x, weight, bias = normal(lab, tokens, width), normal(lab, out, width) / width**0.5, normal(lab, out)
        told: dict[str, Any] = {"fp16": microseconds(lab, lambda x=x, w=weight, b=bias: linear(x, w, b))}
        a, b = (x / 8).to(eight), weight.to(eight).t()
        each = torch.ones(tokens, 1, device=lab.device), torch.ones(1, out, device=lab.device)
        one = torch.ones((), device=lab.device), torch.ones((), device=lab.device)
        for name, scales, dtype, added, fast in (
            ("rows bf16", each, torch.bfloat16, False, True), ("rows bf16 +bias", each, torch.bfloat16, True, True),
            ("rows bf16 slow", each, torch.bfloat16, False, False), ("rows fp16", each, torch.float16, False, True),
            ("one fp16", one, torch.float16, False, True), ("one fp16 +bias", one, torch.float16, True, True),
        ):  # fmt: skip
            try:
                lab.in_time()
                told[name] = microseconds(
                    lab,
                    partial(torch._scaled_mm, a, b, *scales, bias=bias.to(dtype) if added else None, out_dtype=dtype,
                            use_fast_accum=fast),
                )  # fmt: skip
            except RuntimeError as error:
                told[name] = str(error).splitlines()[0][:60]
        lab.say(f"8 bits µs {tokens}×{width}→{out}", **told)


def hopper_attention(lab: Lab) -> None:
    """Self-attention by the library and, where it is installed, by FlashAttention 3 (which its wheel has in bf16)."""
    if lab.device.type != "cuda":
        return
    for heads, tokens in ((20, 1008), (10, 4032)):
        told: dict[str, Any] = {}
        for dtype in (torch.float16, torch.bfloat16):
            joined = normal(lab, 2, tokens, 3, heads, 64, dtype=dtype)
            q, k, v = joined.unbind(2)
            rows = [part.transpose(1, 2) for part in (q, k, v)]
            told[f"library {str(dtype)[6:]}"] = microseconds(lab, lambda r=rows: scaled_dot_product_attention(*r))
            try:
                from fa3_fwd_interface import flash_attn_func

                def flash(q: Tensor = q, k: Tensor = k, v: Tensor = v) -> Tensor:
                    made = flash_attn_func(q, k, v)
                    return made[0] if isinstance(made, tuple) else made

                told[f"FA3 {str(dtype)[6:]}"] = microseconds(lab, flash)
                told[f"error {str(dtype)[6:]}"] = relative(flash().transpose(1, 2), scaled_dot_product_attention(*rows))
            except Exception as error:
                told[f"FA3 {str(dtype)[6:]}"] = f"{type(error).__name__}: {str(error)[:80]}"
        lab.say(f"self-attention µs {heads}×{tokens}", **told)


def language_models(lab: Lab, *, big: bool) -> tuple[Any, Any]:
    """The library's GPT-2 and the engine's, with the same random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from benchmarks.parity_models import Random, transformer_weight
    from engine.models.gpt2 import Gpt2, Gpt2Sizes

    config = GPT2Config() if big else GPT2Config(n_layer=2, n_embd=64, n_head=2, vocab_size=900)
    config._attn_implementation = "sdpa"
    model: Any = GPT2LMHeadModel(config).eval()
    random = Random(0)
    weights = {name: transformer_weight(random, name, tuple(like.shape)) for name, like in model.state_dict().items()}
    weights["transformer.wte.weight"] = random.normal(*weights["transformer.wte.weight"].shape, spread=0.1)
    weights["lm_head.weight"] = weights["transformer.wte.weight"]
    model.load_state_dict(weights)
    model = model.to(lab.device, lab.dtype)
    ours = Gpt2(Gpt2Sizes.of_config(config.to_dict())).to(lab.device, lab.dtype).eval()
    ours.load_state_dict(model.state_dict())
    ours.tie()
    if big:
        ours.look_up_activations()
    return model, ours


def words(lab: Lab) -> None:
    """Prompt expansion: the library's loop, one token at a time, and steps of fixed places; and whose words agree."""
    from engine.models.expansion_decoding import Begun, Decoder, WordChoice

    big = lab.device.type == "cuda"
    model, ours = language_models(lab, big=big)
    vocabulary = model.config.vocab_size
    chooser = torch.Generator().manual_seed(1)
    listed = torch.randperm(vocabulary, generator=chooser)[:640]
    bias = torch.full((vocabulary,), -8192.0)
    bias[listed] = 0
    choice = WordChoice(bias.to(lab.device, lab.dtype), -8192.0, int(listed[0]), 100)
    prompts = [
        tuple(torch.randint(vocabulary, (9 + n % 8,), generator=chooser).tolist()) for n in range(16 if big else 4)
    ]
    texts = [Begun(prompt, 75 - len(prompt), 100 + n) for n, prompt in enumerate(prompts)]
    expected = [one_by_one(model, choice, text) for text in texts]
    started = time.perf_counter()
    for text in texts[:4]:
        one_by_one(model, choice, text)
    lab.say("words, the library's loop", s_each=(time.perf_counter() - started) / 4)
    for count in (1, 4) if big else (1, 2):
        with lab.trying(f"words, {count} at a time"):
            lab.in_time()
            decoder = Decoder(ours, choice, count, 75)
            started = time.perf_counter()
            decoder.drawn(texts[:1])
            first = time.perf_counter() - started
            made = [row for n in range(0, len(texts), count) for row in decoder.drawn(texts[n : n + count])]
            alone = [decoder.drawn([text])[0] for text in texts]
            started = time.perf_counter()
            decoder.drawn(texts[:count])
            told = {"s": time.perf_counter() - started, "first_s": first, "of": len(texts)}
            same = sum(one == other for one, other in zip(made, expected, strict=True))
            begun = sum(
                next((n for n, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))
                for one, other in zip(made, expected, strict=True)
            )
            lab.say(f"words, {count} at a time", **told, as_the_loop=same, words_in_common=begun,
                    of_words=sum(map(len, expected)), alone_as_together=made == alone)  # fmt: skip


def one_by_one(model: Any, choice: Any, text: Any) -> list[int]:
    """The tokens after a text by the library's growing cache and its multinomial draws."""
    device = choice.bias.device
    generator, bias = torch.Generator(device).manual_seed(text.seed), choice.bias.clone()
    drawn: list[int] = []
    fresh, past = list(text.tokens), None
    for _ in range(text.count):
        bias[fresh] = choice.never
        bias[choice.again] = 0
        output = model(input_ids=torch.tensor([fresh], device=device), past_key_values=past, use_cache=True,
                       logits_to_keep=1)  # fmt: skip
        past, scores = output.past_key_values, output.logits[0, -1] + bias
        scores = scores.masked_fill(scores < scores.topk(choice.top_k).values[-1], -torch.inf)
        fresh = [int(torch.multinomial(scores.softmax(dim=-1), 1, generator=generator))]
        drawn += fresh
    return drawn


PARTS: tuple[Callable[[Lab], None], ...] = (
    steps,
    words,
    norms,
    text_attention,
    guiding,
    encoding,
    rows,
    hopper_attention,
    eight_bit_products,
)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time the parts of a denoising step beside what they replace.")
    parser.add_argument("--only", nargs="*", help="the names of parts")
    lab, arguments = begun(parser, seconds=100)
    for part in PARTS:
        if not arguments.only or part.__name__ in arguments.only:
            with lab.trying(part.__name__), torch.inference_mode():
                lab.in_time()
                part(lab)
    print("\n" + "\n".join(lab.lines))


if __name__ == "__main__":
    main()
