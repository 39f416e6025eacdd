"""Previews: the linear map a VAE gets, and the picture it makes."""

import torch

from engine.models.vae import Vae
from engine.sampling.previews import Previewer, fitted_map


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
    seen = torch.cat([latents, torch.ones(5, 1)], dim=1) @ fitted_map(vae).t()
    assert torch.allclose(seen, colours, atol=1e-5)


def test_a_preview_shows_the_latents_colours_at_a_quarter_of_the_side():
    vae = LinearVae()
    picture = torch.zeros(1, 3, 96, 128)
    picture[:, 0, :, :64] = 1
    picture[:, 2, :, 64:] = 1
    seen = Previewer(vae).pixels(vae.encode_mean(picture))
    assert (seen.shape, seen.dtype) == ((24, 32, 3), torch.uint8)
    assert seen[12, 4].tolist() in ([255, 0, 0], [254, 0, 0])
    assert seen[12, 28].tolist() in ([0, 0, 255], [0, 0, 254])


def test_the_fit_is_the_same_every_time(pipeline, tmp_path):
    from engine.models.checkpoint import load_checkpoint

    vae = load_checkpoint(pipeline.builtin, torch.device("cpu")).vae
    assert isinstance(vae, Vae)
    assert torch.equal(fitted_map(vae), fitted_map(vae))
