"""Control images on the device: PyraCanny as the engine computes it, and grey structure pictures like CPDS's.

The engine's own code needs OpenCV, which the training machine has not; `tests/training` holds these against it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

TENTHS = range(2, 11)
KEPT, ADDED = 0.75, 0.25
CANNY_PERCENT, STRUCTURE_PERCENT = 1, 4
TANGENT = round(0.4142135623730950488 * 2**15)
"""tan(22.5°) in OpenCV's fixed point."""
LUMINANCE = (0.299, 0.587, 0.114)
MOST_ROUNDS, ROUNDS = 4, 8
"""How far weak outlines reach from strong ones: 32 pixels. OpenCV has no limit, but each round is most of the work."""
BOOST = 1.7
"""About what a grey step is in the distance of two RGB pictures: √3."""


def area_weights(given: int, made: int, device: torch.device) -> Tensor:
    """The matrix [made, given] by which a row of pixels is shrunk: shares of the pixels each new one covers."""
    edges = torch.arange(made + 1, device=device, dtype=torch.float64) * given / made
    places = torch.arange(given, device=device, dtype=torch.float64)
    start, end = edges[:-1, None], edges[1:, None]
    shares = torch.minimum(end, places + 1) - torch.maximum(start, places)
    return shares.clamp_min(0) * made / given


def shrunk(pictures: Tensor, height: int, width: int) -> Tensor:
    """Whole numbers 0..255 [n,3,h,w] at a smaller size, by the mean of what each pixel covers, rounded."""
    rows = area_weights(pictures.shape[-2], height, pictures.device)
    columns = area_weights(pictures.shape[-1], width, pictures.device)
    # Doubles, for a GPU that is allowed to multiply with ten bits would round otherwise.
    return (rows @ pictures.double() @ columns.t()).round().float()


def outlines(pictures: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Canny's outlines, 0 or 1, of each channel of whole numbers 0..255 [n,3,h,w]; thresholds are [n]."""
    n, c, height, width = pictures.shape
    flat = F.pad(pictures.reshape(n * c, 1, height, width), (1, 1, 1, 1), mode="replicate")
    smooth, step = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0])
    across = (smooth[:, None] * step)[None, None].to(flat)
    dx, dy = F.conv2d(flat, across).round(), F.conv2d(flat, across.transpose(2, 3)).round()
    strength = dx.abs() + dy.abs()
    low, high = (limit.repeat_interleave(c)[:, None, None, None] for limit in (low, high))
    weak = (strength > low) & _crests(strength, dx, dy)
    # 0 and 1 are whole in half the bytes, and this is most of the work.
    kind = torch.half if pictures.is_cuda else torch.float
    return _connected((weak & (strength > high)).to(kind), weak.to(kind)).float().reshape(n, c, height, width)


def _crests(strength: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Where the strength is the largest across the outline: of two neighbours, as the gradient's direction says."""
    height, width = strength.shape[-2:]
    around = F.pad(strength, (1, 1, 1, 1))

    def beside(down: int, right: int) -> Tensor:
        return around[:, :, 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    # Doubles: products of up to 2^11 and 2^16 with a bit to spare are whole in them.
    x, y = dx.abs().double(), dy.abs().double() * 2**15
    flat = y < x * TANGENT
    steep = y > x * (TANGENT + 2**16)
    level = (strength > beside(0, -1)) & (strength >= beside(0, 1))
    upright = (strength > beside(-1, 0)) & (strength >= beside(1, 0))
    falling = (strength > beside(-1, -1)) & (strength > beside(1, 1))
    rising = (strength > beside(-1, 1)) & (strength > beside(1, -1))
    slanted = torch.where((dx < 0) ^ (dy < 0), rising, falling)
    return torch.where(flat, level, torch.where(steep, upright, slanted))


def _connected(strong: Tensor, weak: Tensor) -> Tensor:
    """What of `weak` is connected with `strong`, diagonals included."""
    for _ in range(MOST_ROUNDS):
        before = strong
        for _ in range(ROUNDS):
            strong = F.max_pool2d(strong, 3, 1, 1) * weak
        if torch.equal(before, strong):
            break
    return strong


def stretched(values: Tensor, percent: float) -> Tensor:
    """Values [n,h,w] from their lowest to their highest percentile as uint8, cut off; zeros where these are alike."""
    ordered = values.flatten(1).sort(dim=1).values
    last = ordered.shape[1] - 1
    ends = []
    for share in (percent / 100, 1 - percent / 100):
        at = share * last
        ends.append(torch.lerp(ordered[:, int(at)], ordered[:, min(int(at) + 1, last)], at - int(at)))
    low, high = (end[:, None, None] for end in ends)
    made = ((values - low) / (high - low).clamp_min(1e-12) * 255).clamp(0, 255)
    return torch.where(high > low, made, torch.zeros_like(made)).to(torch.uint8)


@torch.no_grad()
def pyra_canny(pictures: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The outlines uint8 [n,h,w] of pictures [n,3,h,w] in 0..1; Canny's thresholds are [n]."""
    whole, total = (pictures * 255).round(), None
    height, width = pictures.shape[-2:]
    for tenths in TENTHS:
        size = max(1, height * tenths // 10), max(1, width * tenths // 10)
        found = outlines(shrunk(whole, *size), low, high)
        if total is None:
            total = found
        else:
            total = F.interpolate(total, size=size, mode="bilinear", align_corners=False) * KEPT + found * ADDED
    assert total is not None
    return stretched(total.sum(1), CANNY_PERCENT)


@torch.no_grad()
def structure(pictures: Tensor, weights: Tensor) -> Tensor:
    """Grey pictures uint8 [n,h,w] in the manner of CPDS; `weights` [n,3] stand for the grey that it would choose.

    CPDS searches the grey that keeps the contrast between colours and adds how far that is from the usual one.
    """
    usual = torch.tensor(LUMINANCE, device=pictures.device)
    grey = (pictures * weights[:, :, None, None]).sum(1)
    plain = (pictures * usual[None, :, None, None]).sum(1)
    return stretched(grey + BOOST * (grey - plain).abs(), STRUCTURE_PERCENT)


def some_weights(count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Weights [n,3] of greys that CPDS might choose: all shares of red, green and blue alike."""
    shares = -torch.rand(count, 3, device=device, generator=generator).clamp_min(1e-6).log()
    return shares / shares.sum(1, keepdim=True)
