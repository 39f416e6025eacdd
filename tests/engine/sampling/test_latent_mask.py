"""Blending: what is pinned, and with which noise."""

import torch

from engine.sampling.latent_mask import Blended

SIGMA = torch.tensor(3.0)


def halved(x, sigma):
    """A denoiser that takes half of the state for the picture."""
    return x / 2


def setting():
    """A state, a pinned latent and a mask whose right half is repainted."""
    generator = torch.Generator().manual_seed(8)
    x, latent = (torch.randn(1, 4, 6, 6, generator=generator) for _ in range(2))
    mask = torch.zeros(1, 1, 6, 6)
    mask[..., 3:] = 1
    return x, latent, mask


def test_outside_the_mask_the_latent_stays_and_inside_it_the_model_counts():
    x, latent, mask = setting()
    D = Blended(halved, latent, mask, 5)(x, SIGMA)
    assert torch.equal(D[..., :3], latent[..., :3])
    assert torch.equal(D[..., 3:], x[..., 3:] / 2)


def test_the_model_sees_the_latent_under_fresh_noise_of_the_level():
    x, latent, mask = setting()
    seen = []
    blended = Blended(lambda x, sigma: seen.append(x) or x, latent, mask, 5)
    blended(x, SIGMA), blended(x, SIGMA / 2)
    generator = torch.Generator().manual_seed(6)
    for level, shown in zip((3.0, 1.5), seen, strict=True):
        noise = torch.randn(1, 4, 6, 6, generator=generator)
        assert torch.allclose(shown[..., :3], (latent + noise * level)[..., :3])
        assert torch.equal(shown[..., 3:], x[..., 3:])


def test_the_largest_seed_starts_over():
    x, latent, mask = setting()
    seen = []
    Blended(lambda x, sigma: seen.append(x) or x, latent, 0 * mask, 2**63 - 2)(x, SIGMA)
    noise = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(seen[0], latent + noise * SIGMA)
