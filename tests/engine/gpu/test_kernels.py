"""The GPU kernels against the library's modules, in Triton's interpreter, which runs on a processor.

Triton must be there:

    pip install --no-deps --target build/triton triton
    PYTHONPATH=build/triton TRITON_INTERPRET=1 python -m pytest tests/engine/gpu/test_kernels.py
"""

import os

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention, silu

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if not INTERPRETED:
    pytest.skip("Triton's interpreter is off; the module tells how to run it", allow_module_level=True)

from benchmarks.make_checkpoint import SIZES, unet_module, vae_module  # noqa: E402
from engine.gpu import kernels  # noqa: E402
from engine.gpu.compiled_kernels import Kernels  # noqa: E402
from engine.gpu.eight_bit_arithmetic import multiply_in_eight_bits  # noqa: E402
from engine.gpu.eight_bit_rows import Unbiased, in_eight_bits  # noqa: E402
from engine.gpu.fused import fuse  # noqa: E402
from engine.gpu.guidance_kernels import CHANNELS  # noqa: E402
from engine.gpu.residency import Residency  # noqa: E402
from engine.memory_plan import MemoryPlan  # noqa: E402
from engine.sampling import guidance  # noqa: E402
from engine.sampling.freeu import FreeU  # noqa: E402
from engine.sampling.model_sampling import SCHEDULER_KINDS, model_sampling  # noqa: E402
from engine.sampling.unet_call import UNetCall  # noqa: E402
from tests.engine.gpu.row_kernels import Watched, output  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(5)
    with torch.inference_mode():
        yield


def filled(layer):
    """The layer with weights that would show."""
    nn.init.normal_(layer.weight, 1.0, 0.3), nn.init.normal_(layer.bias)
    return layer


def picture(n=2, channels=64, height=9, width=7):
    return (3 * torch.randn(n, channels, height, width) + 1).contiguous(memory_format=torch.channels_last)


def near(made, expected):
    return made.dtype == expected.dtype and torch.allclose(made, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("added", [False, True], ids=["plain", "shifted"])
@pytest.mark.parametrize("activated", [False, True], ids=["linear", "silu"])
@pytest.mark.parametrize(("channels", "groups", "side"), [(64, 32, 9), (96, 8, 33), (320, 32, 16)])
def test_a_group_norm_is_the_librarys(channels, groups, side, activated, added):
    x, norm = picture(2, channels, side, side + 2), filled(nn.GroupNorm(groups, channels, eps=1e-6))
    shift = torch.randn(2, channels) if added else None
    expected = norm(x if shift is None else x + shift[:, :, None, None])
    made = kernels.group_norm(x, norm, silu=activated, shift=shift)
    assert near(made, silu(expected) if activated else expected)
    assert made.is_contiguous(memory_format=torch.channels_last)


def test_a_picture_that_lies_otherwise_is_taken():
    x, norm = picture().contiguous(), filled(nn.GroupNorm(8, 64))
    assert near(kernels.group_norm(x, norm), norm(x))


@pytest.mark.parametrize(("first", "second", "groups", "side"), [(64, 32, 8, 9), (32, 64, 32, 5), (100, 60, 16, 33)])
def test_pictures_are_joined_and_normalised_in_the_same_passes(first, second, groups, side):
    one, other = picture(2, first, side, side + 2), picture(2, second, side, side + 2)
    norm = filled(nn.GroupNorm(groups, first + second))
    expected = torch.cat([one, other], dim=1)
    joined, made = kernels.joined_group_norm(one, other, norm)
    assert torch.equal(joined, expected)
    assert torch.equal(made, kernels.group_norm(expected, norm, silu=True))
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in (joined, made))


@pytest.mark.parametrize("width", [40, 320, 640])
def test_rows_are_added_and_normalised(width):
    one, other = torch.randn(2, 5, width), 4 * torch.randn(2, 5, width)
    norm = filled(nn.LayerNorm(width))
    assert near(kernels.layer_norm(one, norm), norm(one))
    total, made = kernels.added_layer_norm(one, other, norm)
    assert near(total, one + other) and near(made, norm(one + other))


@pytest.mark.parametrize("width", [24, 1280])
def test_a_gate_is_a_gelu(width):
    x = torch.randn(2, 3, 2 * width)
    value, gate = x.chunk(2, dim=-1)
    assert near(kernels.gated(x), value * gelu(gate))


@pytest.mark.parametrize(("channels", "side"), [(64, 9), (100, 33)])
def test_pictures_and_a_bias_are_added(channels, side):
    one, other, bias = picture(2, channels, side, side), picture(2, channels, side, side), torch.randn(channels)
    assert near(kernels.summed(one, bias, other), one + bias[:, None, None] + other)
    assert near(kernels.summed(one, bias), one + bias[:, None, None])
    assert near(kernels.summed(one, bias, other, 2 * bias), one + 3 * bias[:, None, None] + other)


@pytest.mark.parametrize(("channels", "height", "width"), [(64, 9, 7), (100, 5, 33)])
def test_a_picture_is_doubled_as_by_its_nearest_pixels(channels, height, width):
    x = picture(2, channels, height, width)
    assert torch.equal(kernels.doubled(x), interpolate(x, scale_factor=2.0, mode="nearest"))
    assert kernels.doubled(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("keys", [1, 16, 77, 154, 300])
def test_a_text_is_read_as_the_librarys_attention_reads_it(keys):
    heads, tokens = 3, 150
    query, joined = torch.randn(2, tokens, heads * 64), torch.randn(2, keys, 2 * heads * 64)
    key, value = joined.unflatten(-1, (2, heads, 64)).permute(2, 0, 3, 1, 4)
    expected = scaled_dot_product_attention(query.unflatten(-1, (heads, 64)).transpose(1, 2), key, value)
    assert near(kernels.read_text(query, joined, heads), expected.transpose(1, 2).flatten(2))


@pytest.mark.parametrize(("kind", "sharpness", "scale"), [
    ("eps", 300.0, 4.0), ("eps", 0.0, 9.0), ("v", 2.0, 9.0), *((kind, 0.0, 4.0) for kind in SCHEDULER_KINDS),
])  # fmt: skip
def test_guidance_is_that_of_the_processor(kind, sharpness, scale):
    sampling = model_sampling("v" if kind == "v" else "eps", kind)
    sigma, progress = torch.tensor(3.25), 0.4
    x, output = 3 * torch.randn(1, CHANNELS, 7, 18), torch.randn(2, CHANNELS, 7, 18)
    output = output.contiguous(memory_format=torch.channels_last)
    negative, positive = sampling.denoised(x, sigma, output).split(1)
    expected = guidance.guided(x, positive, negative, progress, scale, 7.0, sharpness)
    made = guidance.guided_by(kernels, x, output, sampling.parts(sigma), progress, scale, 7.0, sharpness)
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)


def rows_of(quantised):
    return quantised.values.float() * quantised.scale.unflatten(0, quantised.values.shape[:-1])


@pytest.mark.parametrize("width", [40, 320])
def test_rows_in_eight_bits_are_those_of_the_processor(width):
    one, other, wide = torch.randn(2, 5, width), 4 * torch.randn(2, 5, width), torch.randn(2, 5, 2 * width)
    norm = filled(nn.LayerNorm(width))
    bias, wide_bias = torch.randn(width), torch.randn(2 * width)
    value, gate = (wide + wide_bias).chunk(2, dim=-1)
    total, made = kernels.added_quantised_norm(Unbiased(one, bias), other, norm)
    assert near(total, one + bias + other)
    for quantised, exact in (
        (kernels.quantised(one), one),
        (kernels.quantised_norm(one, norm), norm(one)),
        (made, norm(one + bias + other)),
        (kernels.quantised_gate(Unbiased(wide, wide_bias)), value * gelu(gate)),
    ):
        expected = in_eight_bits(exact)
        torch.testing.assert_close(quantised.scale, expected.scale, rtol=1e-4, atol=0)
        # The interpreter loses the carry where rounding reaches the next power of two; a GPU does not.
        far = (rows_of(quantised) - exact).abs() > exact.abs() / 15 + exact.abs().amax() / 400
        assert far.float().mean() < 0.05


def unet_and_call():
    size = SIZES["tiny"]
    texts, sizes = torch.randn(2, 77, size.clip_l[0] + size.clip_g[0]), torch.randn(2, 6)
    call = UNetCall(torch.randn(2, 4, 8, 8), torch.tensor(500.0), texts, torch.randn(2, size.clip_g[0]), sizes)
    return unet_module(size).requires_grad_(False).eval(), call


def test_a_unet_in_eight_bits_computes_with_the_kernels():
    unet, call, in_use = *unet_and_call(), Kernels()
    expected = call.on(unet)
    fuse(unet, in_use)
    multiply_in_eight_bits(unet)
    in_use.now = kernels
    assert float((call.on(unet) - expected).norm() / expected.norm()) < 0.2


@pytest.mark.parametrize("eight", [False, True], ids=["full", "8 bits"])
def test_streamed_blocks_change_no_byte_of_what_the_kernels_make(eight):
    unet, call, in_use = *unet_and_call(), Kernels()
    fuse(unet, in_use, ("row", "attention"))
    if eight:
        multiply_in_eight_bits(unet)
    in_use.now = Watched(kernels)
    expected, residency = output(unet, call), Residency(torch.device("cpu"))
    residency.adopt(unet, work=0)
    residency.follow(MemoryPlan("streamed", 0, 4, 4))
    assert torch.equal(output(unet, call), expected)


def test_a_fused_decoder_computes_with_the_kernels():
    vae, in_use = vae_module(SIZES["tiny"]).requires_grad_(False).eval(), Kernels()
    latent = torch.randn(1, 4, 6, 8)
    expected = vae.decode(latent).sample
    fuse(vae.decoder, in_use)
    in_use.now = kernels
    torch.testing.assert_close(vae.decode(latent).sample, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_rounded_once_at_the_end(dtype):
    x, norm = picture().to(dtype), filled(nn.GroupNorm(8, 64)).to(dtype)
    exact = nn.functional.group_norm(x.float(), 8, norm.weight.float(), norm.bias.float())
    error = (kernels.group_norm(x, norm).float() - exact).abs()
    assert (error <= exact.abs() * torch.finfo(dtype).eps + 1e-3).all()


def test_a_fused_unet_computes_with_the_kernels_it_was_handed():
    unet, call, in_use = *unet_and_call(), Kernels()
    expected = call.on(unet)
    fuse(unet, in_use)
    in_use.now = kernels
    torch.testing.assert_close(call.on(unet), expected, rtol=1e-4, atol=1e-4)
    in_use.now = None
    torch.testing.assert_close(call.on(unet), expected, rtol=1e-4, atol=1e-4)


def test_what_changes_the_input_of_a_resnet_going_up_is_given_it_joined():
    unet, call, in_use = *unet_and_call(), Kernels()
    fuse(unet, in_use)
    in_use.now = kernels
    with FreeU(1.3, 1.4, 0.9, 0.2).attached(unet):
        changed = call.on(unet)
        in_use.now = None
        torch.testing.assert_close(changed, call.on(unet), rtol=1e-4, atol=1e-4)
