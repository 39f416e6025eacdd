"""Pictures to latents and back, whole and in tiles."""

import numpy as np
import pytest
import torch

from engine.adapters.inpaint_latents import inpaint_latents, latent_mask
from engine.gpu.compiled_kernels import Kernels
from engine.images.inpaint import InpaintRegion
from engine.images.region import Box
from engine.models.checkpoint import load_checkpoint
from engine.models.vae import Vae


@pytest.fixture(scope="module")
def vae(toy):
    return load_checkpoint(toy, torch.device("cpu")).vae


class SmallMemory:
    """A VAE's module on a device that cannot take more than so many pixels at once."""

    def __init__(self, module, most):
        self.module, self.most = module, most
        self.parameters = module.parameters

    def encode(self, pixels):
        return self._checked(pixels, self.module.encode)

    def decode(self, latent):
        return self._checked(latent, self.module.decode)

    def _checked(self, given, run):
        if given.shape[-1] * given.shape[-2] > self.most:
            raise torch.OutOfMemoryError("too large")
        return run(given)


def generator(seed=5):
    return torch.Generator().manual_seed(seed)


def picture(height, width, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]


@pytest.mark.parametrize("size", [(32, 40), (37, 43)], ids=str)
def test_a_gpu_sees_that_the_channels_of_a_picture_come_last(vae, size, monkeypatch):
    seen, encode = [], vae.module.encode
    monkeypatch.setattr(vae.module, "encode", lambda pixels: seen.append(pixels) or encode(pixels))
    image, mask = picture(*size), np.zeros(size, np.uint8)
    vae.encode(image, generator())
    vae.encode_tiled(image / np.float32(255), generator())
    vae.encode_inpaint(picture(32, 40), mask[:32, :40], generator())
    assert len(seen) == 5
    # torch tells by the strides alone which way convolutions run on a GPU
    assert all(pixels.is_contiguous(memory_format=torch.channels_last) or _strided_last(pixels) for pixels in seen)


def _strided_last(pixels):
    """Whether it is a part of a picture whose channels come last."""
    batch, channel, row, column = pixels.stride()
    return channel == 1 and channel < column < row < batch


@torch.inference_mode()
def test_a_latent_is_drawn_with_the_generators_noise(vae):
    image = picture(32, 40)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255 * 2 - 1
    posterior = vae.module.encode(pixels).latent_dist
    noise = torch.randn(1, 4, 4, 5, generator=generator())
    expected = posterior.mean + torch.exp(0.5 * posterior.logvar.clamp(-30, 20)) * noise
    latent = vae.encode(image, generator())
    assert torch.allclose(latent, expected, atol=1e-5)
    assert not torch.allclose(latent, vae.encode(image, generator(6)), atol=1e-5)


@torch.inference_mode()
def test_beside_gpu_kernels_the_encoders_last_activation_is_rounded_in_its_middle(toy):
    plain = load_checkpoint(toy, torch.device("cpu")).vae.module
    weights = {name: weight.clone() for name, weight in plain.state_dict().items()}
    module = Vae.load(weights, torch.device("cpu"), torch.bfloat16, Kernels()).module
    seen = []
    module.encoder.conv_out.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    module.encoder.conv_act.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    module.encode(torch.randn(1, 3, 16, 16, generator=generator()).bfloat16())
    normed, activated = seen
    assert torch.equal(activated, normed * torch.sigmoid(normed))
    assert not torch.equal(activated, torch.nn.functional.silu(normed))


def test_floats_are_taken_as_they_are(vae):
    image = picture(16, 16)
    assert torch.allclose(
        vae.encode(image, generator()), vae.encode(image.astype(np.float32) / 255, generator()), atol=1e-6
    )


def test_a_picture_is_cropped_around_its_middle(vae):
    image = picture(37, 31)
    assert torch.equal(vae.encode(image, generator()), vae.encode(image[2:34, 3:27], generator()))


def test_an_inpaint_picture_is_grey_where_masked_and_not_cropped(vae):
    image, mask = picture(37, 31), np.zeros((37, 31), np.uint8)
    mask[:20] = 200
    mask[20:, :4] = 100
    grey = image.astype(np.float32) / 255
    grey[:20] = 0.5
    latent = vae.encode_inpaint(image, mask, generator())
    assert latent.shape == (1, 4, 4, 3)
    pixels = torch.from_numpy(grey).permute(2, 0, 1)[None]
    assert torch.allclose(latent, vae._drawn(pixels, generator()), atol=1e-6)


def test_decoding_in_tiles_is_near_decoding_whole(vae):
    latent = torch.randn(1, 4, 48, 80, generator=generator())
    whole, tiles = vae.decode(latent), vae.decode_tiled(latent)
    assert tiles.shape == whole.shape == (1, 384, 640, 3)
    assert np.abs(whole.astype(int) - tiles.astype(int)).mean() < 3


def test_encoding_in_tiles_is_near_encoding_whole(vae):
    image, told = picture(264, 600), []
    tiles = vae.encode_tiled(image, generator(), lambda *state: told.append(state))
    mean = vae.encode_mean(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    assert tiles.shape == mean.shape
    assert (tiles - mean).abs().mean() < (vae.encode(image, generator()) - mean).abs().mean() * 1.5
    assert told == [(n, 8) for n in range(1, 9)]


def test_too_little_memory_leads_to_tiles(vae):
    small = Vae(SmallMemory(vae.module, 512 * 512))
    image = picture(520, 520)
    assert torch.equal(small.encode(image, generator()), vae.encode_tiled(image, generator()))
    small = Vae(SmallMemory(vae.module, 64 * 64))
    latent = torch.randn(1, 4, 65, 65, generator=generator())
    assert (small.decode(latent) == vae.decode_tiled(latent)).all()


def test_memory_too_small_for_a_tile_is_told(vae):
    small = Vae(SmallMemory(vae.module, 10))
    with pytest.raises(torch.OutOfMemoryError):
        small.decode(torch.zeros(1, 4, 8, 8))


def test_other_failures_are_not_taken_for_it(vae):
    with pytest.raises(RuntimeError, match="channels"):
        vae.decode(torch.zeros(1, 5, 8, 8))


def test_a_latent_pixel_is_masked_if_any_of_its_pixels_is():
    mask = np.zeros((16, 24), np.uint8)
    mask[3, 9] = 255
    mask[12, 20] = 127
    assert latent_mask(mask, 2, 3).tolist() == [[[[0, 1, 0], [0, 0, 0]]]]


def test_a_mask_of_other_than_whole_latent_pixels_is_stretched():
    mask = np.zeros((1000, 1000), np.uint8)
    mask[500:] = 255
    fit = latent_mask(mask, 125, 120)
    assert fit.shape == (1, 1, 125, 120)
    assert np.flatnonzero(fit[0, 0, :, 0].numpy()).tolist() == list(range(62, 125))


def test_a_regions_latents_are_drawn_in_order(vae):
    image, mask = picture(64, 64), np.zeros((64, 64), np.uint8)
    mask[:30, :30] = 255
    region = InpaintRegion(image, mask, Box(0, 64, 0, 64), image, mask, image[::-1].copy())
    made, source = inpaint_latents(region, vae, generator(), swap_vae=vae), generator()
    assert torch.equal(made.grey, vae.encode_inpaint(image, mask, source))
    assert torch.equal(made.swap, vae.encode(region.fill, source))
    assert torch.equal(made.fill, vae.encode(region.fill, source))
    assert made.mask.sum() == 16
    assert inpaint_latents(region, vae, generator()).swap is None


@pytest.mark.parametrize(("height", "width", "margin"), [(64, 64, 0), (37, 31, 0), (48, 40, 3)])
def test_where_no_head_reads_the_grey_picture_it_is_not_encoded_and_the_rest_is_the_same(vae, height, width, margin):
    image, mask = picture(height, width), np.zeros((height, width), np.uint8)
    mask[:30, :30] = 255
    region = InpaintRegion(image, mask, Box(0, height, 0, width), image, mask, image[::-1].copy())
    wide = Vae(vae.module, margin)
    encoded, source, other_source = [], generator(), generator()
    made = inpaint_latents(region, wide, source, swap_vae=wide)
    with vae.module.encoder.register_forward_pre_hook(lambda _, given: encoded.append(given)):
        other = inpaint_latents(region, wide, other_source, swap_vae=wide, with_grey=False)
    assert len(encoded) == 2 and other.grey is None
    assert torch.equal(other.fill, made.fill) and torch.equal(other.swap, made.swap)
    assert torch.equal(other_source.get_state(), source.get_state())
