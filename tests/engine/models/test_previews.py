"""Previews: the linear map a VAE gets, the network of a file, and the pictures they make."""

import pytest
import torch
from torch.nn import functional

from engine.errors import CheckpointError
from engine.models.previews import ApproximateDecoder, LinearPreviewer, NetworkPreviewer, fitted_map, network_file
from engine.models.vae import Vae
from engine.sampling.latent_format import PLAYGROUND, SD15, SDXL, LatentFormat

UNSCALED = LatentFormat(1.0)


class LinearVae:
    """A VAE whose latents are an exact linear function of colour: what the fit must find."""

    device = torch.device("cpu")
    matrix = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, -0.5], [0.3, 0.0, 1.0], [1.0, 1.0, 1.0]])
    offset = torch.tensor([0.1, -0.2, 0.3, 0.0])

    def encode_mean(self, pixels):
        """Latents of an eighth of the side."""
        small = torch.nn.functional.avg_pool2d(pixels, 8)
        return torch.einsum("cr,brhw->bchw", self.matrix, small) + self.offset[:, None, None]


def test_the_fit_finds_a_linear_vae_exactly():
    vae = LinearVae()
    colours = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    latents = colours @ vae.matrix.t() + vae.offset
    seen = torch.cat([latents, torch.ones(5, 1)], dim=1) @ fitted_map(vae, UNSCALED).t()
    assert torch.allclose(seen, colours, atol=1e-5)


def test_a_preview_shows_the_latents_colours_at_a_quarter_of_the_side():
    vae = LinearVae()
    picture = torch.zeros(1, 3, 96, 128)
    picture[:, 0, :, :64] = 1
    picture[:, 2, :, 64:] = 1
    seen = LinearPreviewer(vae, UNSCALED).pixels(vae.encode_mean(picture))
    assert (seen.shape, seen.dtype) == ((24, 32, 3), torch.uint8)
    assert seen[12, 4].tolist() in ([255, 0, 0], [254, 0, 0])
    assert seen[12, 28].tolist() in ([0, 0, 255], [0, 0, 254])


def test_the_fit_is_the_same_every_time(pipeline, tmp_path):
    from engine.models.checkpoint import load_checkpoint

    vae = load_checkpoint(pipeline.store.catalogue.builtin, torch.device("cpu")).vae
    assert isinstance(vae, Vae)
    assert torch.equal(fitted_map(vae, UNSCALED), fitted_map(vae, UNSCALED))


def test_the_map_of_a_vae_is_fitted_in_model_space():
    vae = LinearVae()
    colours = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    latents = PLAYGROUND.to_model((colours @ vae.matrix.t() + vae.offset)[:, :, None, None])[:, :, 0, 0]
    seen = torch.cat([latents, torch.ones(5, 1)], dim=1) @ fitted_map(vae, PLAYGROUND).t()
    assert torch.allclose(seen, colours, atol=1e-4)


@pytest.fixture
def network(tmp_path):
    """The file of a preview network with weights of its own."""
    torch.manual_seed(1)
    path = tmp_path / "xlvaeapp.pth"
    torch.save(ApproximateDecoder().state_dict(), path)
    return path


def test_the_network_shows_a_quarter_of_the_side(network):
    seen = NetworkPreviewer(network, torch.device("cpu")).pixels(torch.zeros(1, 4, 112, 144))
    assert (seen.shape, seen.dtype) == ((224, 288, 3), torch.uint8)


def test_the_network_is_eight_convolutions_each_with_its_leak(network):
    weights = torch.load(network, weights_only=True)
    latent = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(2)) * 5
    x = functional.pad(latent.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), (11, 11, 11, 11))
    for number in range(1, 9):
        x = functional.conv2d(x, weights[f"conv{number}.weight"], weights[f"conv{number}.bias"])
        x = torch.where(x > 0, x, 0.1 * x)
    expected = (x * 127.5 + 127.5).clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0)
    seen = NetworkPreviewer(network, torch.device("cpu")).pixels(latent)
    assert (seen.int() - expected.int()).abs().max() <= 1


def test_a_file_that_is_no_preview_network_is_named(tmp_path):
    path = tmp_path / "vaeapp_sd15.pth"
    torch.save({"conv1.weight": torch.zeros(8, 4, 7, 7)}, path)
    with pytest.raises(CheckpointError, match=r"vaeapp_sd15\.pth"):
        NetworkPreviewer(path, torch.device("cpu"))


def test_the_format_picks_the_file():
    assert network_file(SDXL) == "xlvaeapp.pth"
    assert network_file(SD15) == network_file(PLAYGROUND) == "vaeapp_sd15.pth"
