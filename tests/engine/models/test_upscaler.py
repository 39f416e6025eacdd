"""Upscalers of every naming and scale, against the network written out on the file's own names."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import conv2d, interpolate, leaky_relu, pixel_unshuffle

from engine.errors import CheckpointError
from engine.models.upscaler import Upscaler

CPU = torch.device("cpu")
WIDTH, GROWTH, BLOCKS = 6, 4, 2


def layers(given=3, enlarging=2):
    """Each convolution's name in BasicSR's naming, with its channels in and out."""
    yield "conv_first", given, WIDTH
    for block in range(BLOCKS):
        for dense in (1, 2, 3):
            for conv in range(1, 6):
                made = WIDTH if conv == 5 else GROWTH
                yield f"body.{block}.rdb{dense}.conv{conv}", WIDTH + (conv - 1) * GROWTH, made
    for name in ("conv_body", *(f"conv_up{n}" for n in range(1, enlarging + 1)), "conv_hr"):
        yield name, WIDTH, WIDTH
    yield "conv_last", WIDTH, 3


def words(given=3, enlarging=2):
    generator, tensors = torch.Generator().manual_seed(0), {}
    for name, inputs, outputs in layers(given, enlarging):
        spread = (9 * inputs) ** -0.5
        tensors[f"{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * spread
        tensors[f"{name}.bias"] = torch.rand(outputs, generator=generator) * 0.2
    return tensors


def numbers(tensors, dense_word="RDB"):
    """The tensors under the numbers of ESRGAN's own naming."""
    enlarging = len({name for name in tensors if name.startswith("conv_up")}) // 2
    places = {"conv_first": "model.0", "conv_body": f"model.1.sub.{BLOCKS}"}
    places |= {f"conv_up{n}": f"model.{3 * n}" for n in range(1, enlarging + 1)}
    places |= {"conv_hr": f"model.{3 * enlarging + 2}", "conv_last": f"model.{3 * enlarging + 4}"}
    renamed = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if layer.startswith("body."):
            _, block, dense, conv = layer.split(".")
            layer = f"model.1.sub.{block}.{dense_word}{dense[-1]}.{conv}.0"
        renamed[f"{places.get(layer, layer)}.{kind}"] = tensor
    return renamed


def first_words(tensors):
    """The tensors in the naming of ESRGAN's first release."""
    renamed = {}
    for name, tensor in tensors.items():
        name = name.replace("body.", "RRDB_trunk.") if name.startswith("body.") else name
        for ours, theirs in (("rdb", "RDB"), ("conv_body", "trunk_conv"), ("conv_up", "upconv"), ("conv_hr", "HRconv")):
            name = name.replace(ours, theirs)
        renamed[name] = tensor
    return renamed


@torch.inference_mode()
def enlarged(tensors, image, fold=1):
    """The paper's network, on `words`."""

    def conv(name, x):
        return conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1)

    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    shallow = x = conv("conv_first", pixel_unshuffle(pixels, fold))
    for block in range(BLOCKS):
        y = x
        for dense in (1, 2, 3):
            seen = [y]
            for n in range(1, 5):
                seen.append(leaky_relu(conv(f"body.{block}.rdb{dense}.conv{n}", torch.cat(seen, 1)), 0.2))
            y = y + 0.2 * conv(f"body.{block}.rdb{dense}.conv5", torch.cat(seen, 1))
        x = x + 0.2 * y
    x = shallow + conv("conv_body", x)
    for n in range(1, 5):
        if f"conv_up{n}.weight" in tensors:
            x = leaky_relu(conv(f"conv_up{n}", interpolate(x, scale_factor=2)), 0.2)
    x = conv("conv_last", leaky_relu(conv("conv_hr", x), 0.2))
    return (x.clamp(0, 1) * 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()


def picture(height=20, width=28):
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(tensors, path):
    torch.save(tensors, path)
    return path


def near(made, expected):
    return made.shape == expected.shape and np.abs(made.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize(
    "rename",
    [
        words,
        lambda: numbers(words()),
        lambda: numbers(words(), "residual_block_"),
        lambda: first_words(words()),
        lambda: {"params_ema": words(), "params": {}},
        lambda: {name: tensor.half() for name, tensor in words().items()},
    ],
    ids=["basicsr", "numbers", "fooocus", "first", "wrapped", "half"],
)
def test_every_naming_gives_the_same_picture(tmp_path, rename):
    upscaler = Upscaler.load(saved(rename(), tmp_path / "x4.bin"), CPU)
    expected = enlarged(words(), picture())
    assert upscaler.scale == 4
    assert expected.std() > 5
    assert near(upscaler.upscale(picture()), expected)


def test_a_file_of_the_old_format_and_safetensors_are_read(tmp_path):
    torch.save(words(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(words(), tmp_path / "new.safetensors")
    old, new = (Upscaler.load(tmp_path / name, CPU) for name in ("old.pth", "new.safetensors"))
    assert (old.upscale(picture()) == new.upscale(picture())).all()
    assert old.size == sum(tensor.nbytes for tensor in words().values())


@pytest.mark.parametrize("enlarging", [0, 1, 2, 3])
def test_the_scale_follows_from_the_layers_that_enlarge(tmp_path, enlarging):
    for tensors in (words(enlarging=enlarging), numbers(words(enlarging=enlarging))):
        upscaler = Upscaler.load(saved(tensors, tmp_path / "model.pth"), CPU)
        assert upscaler.scale == 2**enlarging
        assert near(upscaler.upscale(picture()), enlarged(words(enlarging=enlarging), picture()))


def test_scale_2_with_neighbours_folded_into_channels(tmp_path):
    upscaler = Upscaler.load(saved(words(given=12), tmp_path / "x2.pth"), CPU)
    assert upscaler.scale == 2
    assert near(upscaler.upscale(picture()), enlarged(words(given=12), picture(), fold=2))
    assert upscaler.upscale(picture(9, 13)).shape == (18, 26, 3)


def test_tiles_make_nearly_the_same_picture_and_are_told(tmp_path):
    whole = Upscaler.load(saved(words(), tmp_path / "x4.pth"), CPU)
    tiles, told = Upscaler(whole.network, tile=64), []
    image = picture(100, 80)
    made = tiles.upscale(image, lambda *state: told.append(state))
    assert np.abs(made.astype(int) - whole.upscale(image).astype(int)).mean() < 1
    assert told == [(n, 12) for n in range(1, 13)]


def test_a_tile_is_seen_to_lie_channels_last(tmp_path, monkeypatch):
    upscaler, tiles = Upscaler(Upscaler.load(saved(words(), tmp_path / "x4.pth"), CPU).network, tile=64), []
    run = upscaler._run
    monkeypatch.setattr(upscaler, "_run", lambda tile: tiles.append(tile) or run(tile))
    upscaler.upscale(picture(100, 80))
    # A convolution whose weights tell of no layout goes by its input's.
    with torch.inference_mode():
        made = [nn.Conv2d(3, 8, 3)(tile) for tile in tiles]
    assert len(made) == 12 and all(one.is_contiguous(memory_format=torch.channels_last) for one in made)


def test_it_ends_between_tiles(tmp_path):
    upscaler = Upscaler(Upscaler.load(saved(words(), tmp_path / "x4.pth"), CPU).network, tile=64)

    def stop(done, total):
        raise InterruptedError(f"{done} of {total}")

    with pytest.raises(InterruptedError, match="1 of 12"):
        upscaler.upscale(picture(100, 80), stop)


class SmallMemory(torch.nn.Module):
    """A network on a device that cannot take pictures larger than `most` on a side."""

    def __init__(self, network, most, error):
        super().__init__()
        self.network, self.most, self.sizes, self.error = network, most, [], error
        self.scale, self.first = network.scale, network.first

    def forward(self, pixels):
        self.sizes.append(tuple(pixels.shape[-2:]))
        if max(pixels.shape[-2:]) > self.most:
            raise self.error
        return self.network(pixels)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("too large"), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")], ids=str
)
def test_tiles_are_halved_until_they_fit_but_not_below_128(tmp_path, error):
    network = Upscaler.load(saved(words(enlarging=0), tmp_path / "x1.pth"), CPU).network
    image = picture(260, 100)
    small = SmallMemory(network, 128, error)
    made = Upscaler(small).upscale(image)
    assert small.sizes[:3] == [(260, 100), (256, 100), (128, 100)]
    assert (made == Upscaler(network, tile=128).upscale(image)).all()
    with pytest.raises(RuntimeError, match=str(error)):
        Upscaler(SmallMemory(network, 60, error)).upscale(image)


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": torch.zeros(3)},
        {**words(), "extra.weight": torch.zeros(3)},
        {name: tensor for name, tensor in words().items() if name != "conv_hr.bias"},
        words(given=1),
        words(given=4),
    ],
)
def test_other_files_are_refused(tmp_path, tensors):
    with pytest.raises(CheckpointError, match=r"model\.pth cannot be used as an upscaler"):
        Upscaler.load(saved(tensors, tmp_path / "model.pth"), CPU)
