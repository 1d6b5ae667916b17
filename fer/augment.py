"""Pixels to pixels on whole batches, on the batch's own device: colour, one resampling, erasing, normalising.

    draws = draw(len(images), generator)              # a set of parameters for each image, on the CPU
    x = apply(images, 224, draws)                     # (B, 3, H, W) uint8 -> (B, 3, 224, 224) float32

The random part (`draw`) is a few numbers an image, so a whole epoch of it is drawn at once and in one place:
the same on a CPU, on a GPU and for any number of processes. The heavy part (`apply`) has nothing random in
it.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)  # ImageNet's, which torchvision's weights expect
STD = (0.229, 0.224, 0.225)
GREY = (0.299, 0.587, 0.114)  # luma weights of ITU-R BT.601, as torchvision's rgb_to_grayscale has them


class Draws(NamedTuple):
    """What was drawn for N images; indexing with [] or a tensor takes some of them."""

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
    """Parameters for n images. `strength` multiplies every range and probability (a flip stays at most
    0.5).
    """
    s = strength
    return Draws(
        geometry(
            n, generator, flip=min(0.5, 0.5 * s), degrees=10 * s, scale=min(0.1 * s, 0.9), shift=0.08 * s
        ),
        colour(
            n, generator, brightness=min(0.2 * s, 1), contrast=min(0.2 * s, 1), saturation=min(0.2 * s, 1)
        ),
        erasing(n, generator, p=min(1.0, 0.5 * s)),
    )


def _colour_matrices(images: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Brightness, contrast, saturation and normalising as one matrix (B, 3, 3) and one bias (B, 3, 1) an
    image.
    """
    device = images.device
    grey, mean, std = (torch.tensor(v, device=device).view(1, -1, 1) for v in (GREY, MEAN, STD))
    b, c, s = factors.view(-1, 3, 1, 1).unbind(1)
    level = (images.mean((2, 3), dtype=torch.float32).unsqueeze(2) * grey).sum(
        1, keepdim=True
    ) / 255  # (B, 1, 1)
    mix = s * torch.eye(3, device=device) + (1 - s) * grey.transpose(1, 2).expand(
        -1, 3, -1
    )  # keeps a grey grey
    return mix * (b * c / 255) / std, ((1 - c) * b * level - mean) / std


@torch.no_grad()
def apply(images: Tensor, size: int, draws: Draws | None = None) -> Tensor:
    """uint8 (B, 3, H, W) -> float32 (B, 3, size, size), normalised with ImageNet's mean and deviation.

    With `draws` the images are varied as drawn; without, they are only resized (bilinear) and normalised.
    Resizing, flipping, turning, zooming and shifting are one resampling; outside the picture is the mean
    colour.
    """
    device = images.device
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (MEAN, STD))
    if draws is None:
        x = (images / 255 - mean) / std
        return x if images.shape[-1] == size else F.interpolate(x, (size, size), mode="bilinear")
    weight, bias = _colour_matrices(images, draws.colour)
    x = torch.baddbmm(bias, weight, images.flatten(2).float()).view(images.shape)
    x = torch.clamp(x, -mean / std, (1 - mean) / std)
    grid = F.affine_grid(draws.theta, [len(x), 3, size, size], align_corners=False)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    centre = (torch.arange(size, device=device) + 0.5) / size
    x0, y0, x1, y1 = draws.box.unsqueeze(2).unbind(1)  # (B, 1) each
    hole = ((centre >= y0) & (centre < y1)).unsqueeze(2) & ((centre >= x0) & (centre < x1)).unsqueeze(1)
    return x.masked_fill_(hole.unsqueeze(1), 0)
