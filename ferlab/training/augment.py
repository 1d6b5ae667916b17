"""Pixels to pixels on whole batches, on the batch's own device: colour, one resampling, erasing, normalising.

    draws = draw(len(images), generator)              # a set of parameters for each image, on the CPU
    x = apply(images, 224, draws)                     # (B, 3, H, W) uint8 -> (B, 3, 224, 224) float32

The random part (`draw`) is a few numbers an image, so a whole epoch of it is drawn at once and in one place:
the same on a CPU, on a GPU and for any number of processes. The heavy part (`apply`) has nothing random in
it.
"""

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)  # ImageNet's, which torchvision's weights expect
STD = (0.229, 0.224, 0.225)
GREY = (0.299, 0.587, 0.114)  # luma weights of ITU-R BT.601, as torchvision's rgb_to_grayscale has them


class Draws(NamedTuple):
    """What was drawn for N images; `take` gives some of them."""

    theta: Tensor  # (N, 2, 3) where each output pixel is taken from, in coordinates -1..1
    colour: Tensor  # (N, 3) factors of brightness, contrast and saturation
    box: Tensor  # (N, 4) erased x0, y0, x1, y1 as shares of width and height; empty where x0 == x1

    def take(self, index) -> "Draws":
        return Draws(*(field[index] for field in self))

    def to(self, device) -> "Draws":
        return Draws(*(field.to(device, non_blocking=True) for field in self))


def geometry(
    n: int,
    generator: torch.Generator,
    *,
    flip: float = 0.5,
    degrees: float = 10.0,
    scale: float = 0.1,
    shift: float = 0.08,
) -> Tensor:
    """(n, 2, 3) affine matrices, output to input: flip with probability `flip`, rotation in +-degrees, zoom
    in 1 +- scale, shift in +- shift of the side. Same ranges as torchvision's RandomAffine and
    RandomHorizontalFlip.
    """
    u = torch.rand(n, 5, generator=generator)
    angle = (2 * u[:, 0] - 1) * degrees * torch.pi / 180
    zoom = 1 + (2 * u[:, 1] - 1) * scale
    mirror = 1 - 2 * (u[:, 2] < flip).float()
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    # a shift by t of the picture's side is 2t in coordinates -1..1, seen from the output, before it is turned
    dx, dy = -2 * shift * (2 * u[:, 3] - 1), -2 * shift * (2 * u[:, 4] - 1)
    row_x = torch.stack([cos * mirror, sin, cos * dx + sin * dy], 1)
    row_y = torch.stack([-sin * mirror, cos, -sin * dx + cos * dy], 1)
    return torch.stack([row_x, row_y], 1)


def colour(
    n: int,
    generator: torch.Generator,
    *,
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.2,
) -> Tensor:
    """(n, 3) factors, each uniform in 1 +- its range, as torchvision's ColorJitter draws them."""
    u = torch.rand(n, 3, generator=generator)
    return 1 + (2 * u - 1) * torch.tensor([brightness, contrast, saturation])


def erasing(
    n: int,
    generator: torch.Generator,
    *,
    p: float = 0.5,
    area: tuple[float, float] = (0.02, 0.25),
    ratio: tuple[float, float] = (0.3, 3.3),
) -> Tensor:
    """(n, 4) boxes x0, y0, x1, y1 in 0..1, empty with probability 1 - p: random erasing (Zhong et al., AAAI
    2020).

    Area is uniform and aspect log-uniform, as in torchvision; a side that would pass the picture's is cut to
    it.
    """
    u = torch.rand(n, 5, generator=generator)
    share = area[0] + u[:, 0] * (area[1] - area[0])
    low, high = torch.tensor(ratio).log()
    aspect = (low + u[:, 1] * (high - low)).exp()
    side = torch.stack([(share / aspect).sqrt(), (share * aspect).sqrt()], 1).clamp(max=1)  # width, height
    corner = u[:, 2:4] * (1 - side)
    return torch.cat([corner, corner + side], 1) * (u[:, 4:] < p)


def draw(n: int, generator: torch.Generator, *, strength: float = 1.0) -> Draws:
    """Parameters for n images. `strength` multiplies every range and probability; a flip has 0.5 at any
    strength above 0.
    """
    s = strength
    jitter, flip = min(0.2 * s, 1), 0.5 if s > 0 else 0.0
    return Draws(
        geometry(n, generator, flip=flip, degrees=10 * s, scale=min(0.1 * s, 0.9), shift=0.08 * s),
        colour(n, generator, brightness=jitter, contrast=jitter, saturation=jitter),
        erasing(n, generator, p=min(1.0, 0.5 * s)),
    )


@functools.cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(1, 3, 1, 1), kept: to bring it to a GPU anew for every batch is to wait for the GPU each time."""
    return torch.tensor(values, device=device).view(1, 3, 1, 1)


def _recolour(images: Tensor, factors: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> float32 in 0..1: brightness, contrast, saturation as one matrix an image."""
    grey = _constant(GREY, images.device).view(1, 1, 3)
    pixels = images.flatten(2).float()  # (B, 3, H * W)
    b, c, s = (factor.view(-1, 1, 1) for factor in factors.unbind(1))
    level = b * grey @ pixels.mean(2, keepdim=True) / 255  # (B, 1, 1), what contrast turns about
    mix = s * torch.eye(3, device=images.device) + (1 - s) * grey  # (B, 3, 3): a grey stays grey
    return torch.baddbmm((1 - c) * level, mix * (b * c / 255), pixels).view(images.shape).clamp_(0, 1)


def _grid(size: int, draws: Draws) -> Tensor:
    """(B, size, size, 2): where in the picture, in -1..1, each output pixel looks; an erased one far outside.

    F.affine_grid does the same by a product of matrices, twenty times slower on a CPU and in TF32 on a GPU.
    """
    centre = (torch.arange(size, device=draws.theta.device) + 0.5) / size
    along, down, offset = draws.theta.unsqueeze(3).unbind(2)  # (B, 2, 1) each
    at = 2 * centre - 1
    grid = (along * at).unsqueeze(2) + (down * at + offset).unsqueeze(3)  # (B, 2, size, size)
    x0, y0, x1, y1 = draws.box.unsqueeze(2).unbind(1)  # (B, 1) each
    columns, rows = ((x0 <= centre) & (centre < x1)).float(), ((y0 <= centre) & (centre < y1)).float()
    grid[:, 0].addcmul_(rows.unsqueeze(2), columns.unsqueeze(1), value=100)
    return grid.permute(0, 2, 3, 1)


@torch.no_grad()
def apply(images: Tensor, size: int, draws: Draws | None = None) -> Tensor:
    """uint8 (B, 3, H, W) -> float32 (B, 3, size, size), normalised with ImageNet's mean and deviation.

    With `draws` the images are varied as drawn; without, they are only resized (bilinear) and normalised.
    Resizing, flipping, turning, zooming, shifting and erasing are one resampling; outside the picture is the
    mean colour.
    """
    x = images / 255 if draws is None else _recolour(images, draws.colour)
    x.sub_(_constant(MEAN, x.device)).div_(_constant(STD, x.device))
    if draws is not None:
        return F.grid_sample(x, _grid(size, draws), padding_mode="zeros", align_corners=False)
    if images.shape[-1] == size:
        return x
    x = x.contiguous(memory_format=torch.channels_last)  # half the time on a CPU
    return F.interpolate(x, (size, size), mode="bilinear")
