"""augment.py: each function alone; its draws and results beside those of torchvision's transforms."""

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision import transforms
from torchvision.transforms import functional as V

from ferlab.training import augment
from ferlab.training.augment import MEAN, STD, Draws

QUANTILES = torch.tensor([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int = 4, side: int = 100) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, side, side), generator=seeded(1), dtype=torch.uint8)


def smooth(n: int = 4, side: int = 100) -> torch.Tensor:
    """Pictures without edges, 64..191, on which two ways of interpolating hardly differ."""
    coarse = torch.rand(n, 3, 4, 4, generator=seeded(2))
    return (64 + 127 * F.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)).byte()


def still(n: int) -> Draws:
    """Draws that change nothing."""
    return augment.draw(n, seeded(), strength=0)


def normalised(images: torch.Tensor) -> torch.Tensor:
    return V.normalize(images / 255, MEAN, STD)


def decoded(theta: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Angle in degrees, zoom, shift (N, 2) in shares of the side and flip, from output-to-input matrices."""
    turn, offset = theta[:, :, :2].clone(), theta[:, :, 2]
    flip = torch.linalg.det(turn) < 0
    turn[flip, :, 0] *= -1
    zoom = torch.linalg.det(turn) ** -0.5
    angle = torch.rad2deg(torch.atan2(turn[:, 0, 1], turn[:, 1, 1]))
    return angle, zoom, -torch.linalg.solve(turn, offset) / 2, flip


def same_distribution(ours: torch.Tensor, theirs, tolerance: float = 0.04) -> bool:
    """Whether the quantiles agree, to a share of the range."""
    a, b = (torch.as_tensor(values).float().quantile(QUANTILES) for values in (ours, theirs))
    return bool(((a - b).abs() < tolerance * (b[-1] - b[0])).all())


def test_geometry_is_drawn_as_torchvision_draws_it():
    angle, zoom, shift, flip = decoded(augment.geometry(20_000, seeded()))
    torch.manual_seed(0)
    drawn = [
        transforms.RandomAffine.get_params([-10, 10], [0.08, 0.08], [0.9, 1.1], None, [1000, 1000])
        for _ in range(5_000)
    ]
    assert same_distribution(angle, [d[0] for d in drawn])
    assert same_distribution(zoom, [d[2] for d in drawn])
    for axis in (0, 1):
        assert same_distribution(shift[:, axis], [d[1][axis] / 1000 for d in drawn])
    assert flip.float().mean() == pytest.approx(0.5, abs=0.02)


def test_colour_is_drawn_as_torchvision_draws_it():
    ours = augment.colour(20_000, seeded(), brightness=0.1, contrast=0.2, saturation=0.3)
    torch.manual_seed(0)
    ranges = [0.9, 1.1], [0.8, 1.2], [0.7, 1.3], None
    drawn = [transforms.ColorJitter.get_params(*ranges) for _ in range(5_000)]
    for i in range(3):
        assert same_distribution(ours[:, i], [d[1 + i] for d in drawn])


def test_boxes_are_drawn_as_torchvision_draws_them():
    x0, y0, x1, y1 = augment.erasing(20_000, seeded(), p=1).unbind(1)
    arguments = torch.empty(3, 2000, 2000), (0.02, 0.25), (0.3, 3.3), [0.0]
    torch.manual_seed(0)
    drawn = [transforms.RandomErasing.get_params(*arguments) for _ in range(5_000)]
    w, h = x1 - x0, y1 - y0
    assert same_distribution(w * h, [d[2] * d[3] / 2000**2 for d in drawn])
    assert same_distribution((h / w).log(), [math.log(d[2] / d[3]) for d in drawn])
    assert same_distribution(y0 / (1 - h), [d[0] / (2000 - d[2]) for d in drawn])
    assert same_distribution(x0 / (1 - w), [d[1] / (2000 - d[3]) for d in drawn])
    erased = augment.erasing(20_000, seeded(), p=0.3)
    assert (erased[:, 0] < erased[:, 2]).float().mean() == pytest.approx(0.3, abs=0.02)


def test_results_have_the_statistics_of_torchvision_s_transforms():
    picture, n = smooth(1, 32), 3_000
    ours = augment.apply(picture.expand(n, -1, -1, -1), 32, augment.draw(n, seeded()))
    slow = transforms.Compose(
        [
            transforms.ColorJitter(0.2, 0.2, 0.2),
            transforms.Normalize(MEAN, STD),
            transforms.RandomAffine(10, (0.08, 0.08), (0.9, 1.1), interpolation=V.InterpolationMode.BILINEAR),
            transforms.RandomHorizontalFlip(),
            transforms.RandomErasing(0.5, (0.02, 0.25), (0.3, 3.3)),
        ]
    )
    torch.manual_seed(0)
    theirs = torch.stack([slow(picture[0] / 255) for _ in range(n)])
    for statistic in (torch.mean, torch.std):
        a, b = statistic(ours, 0), statistic(theirs, 0)
        assert float(a.mean()) == pytest.approx(float(b.mean()), abs=0.01)
        assert (a - b).abs().mean() < 0.025  # chance alone makes it about 0.01


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_strength_multiplies_the_ranges(strength):
    draws = augment.draw(5_000, seeded(), strength=strength)
    angle, zoom, shift, flip = decoded(draws.theta)
    assert angle.abs().max() == pytest.approx(10 * strength, rel=0.01)
    assert (zoom - 1).abs().max() == pytest.approx(0.1 * strength, rel=0.01)
    assert shift.abs().max() == pytest.approx(0.08 * strength, rel=0.01)
    assert (draws.colour - 1).abs().max() == pytest.approx(0.2 * strength, rel=0.01)
    assert (draws.box[:, 0] < draws.box[:, 2]).float().mean() == pytest.approx(0.5 * strength, abs=0.03)
    assert flip.float().mean() == pytest.approx(0.5, abs=0.03)


def test_strength_0_is_the_identity():
    images = noise()
    assert torch.allclose(augment.apply(images, 100, still(4)), normalised(images), atol=1e-3)
    enlarged = F.interpolate(normalised(images), (224, 224), mode="bilinear", align_corners=False)
    inside = slice(2, -2)  # at the rim the training images fade to the mean colour
    ours = augment.apply(images, 224, still(4))
    assert torch.allclose(ours[..., inside, inside], enlarged[..., inside, inside], atol=1e-3)


@pytest.mark.parametrize("size", [48, 100, 224])
def test_without_draws_it_resizes_and_normalises(size):
    images = noise()
    expected = F.interpolate(normalised(images), (size, size), mode="bilinear", align_corners=False)
    assert torch.allclose(augment.apply(images, size), expected, atol=1e-5)


def test_the_same_generator_gives_the_same_pixels():
    images = noise()
    one, same, other = (augment.apply(images, 64, augment.draw(4, seeded(s))) for s in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other, atol=0.1)


@pytest.mark.parametrize(
    "place",
    [
        "cpu",
        pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
    ],
)
def test_shape_dtype_and_device_are_kept_and_the_input_is_not_touched(place):
    images, draws = noise().to(place), augment.draw(4, seeded())
    before = images.clone()
    on_cpu = augment.apply(noise(), 112, draws)
    for x in (augment.apply(images, 112, draws.to(place)), augment.apply(images, 112)):
        assert (x.shape, x.dtype, x.device.type) == ((4, 3, 112, 112), torch.float32, place)
    assert torch.equal(images, before)
    assert torch.allclose(augment.apply(images, 112, draws.to(place)).cpu(), on_cpu, atol=5e-3)


def test_flip_flips():
    images, draws = noise(), still(4)
    theta = augment.geometry(4, seeded(), flip=1, degrees=0, scale=0, shift=0)
    flipped = augment.apply(images, 100, draws._replace(theta=theta))
    assert torch.allclose(flipped, normalised(images).flip(3), atol=1e-3)


def test_turning_zooming_and_shifting_agree_with_torchvision_s_affine():
    images = smooth(8)
    theta = augment.geometry(8, seeded(), degrees=30, scale=0.3, shift=0.2)
    ours = augment.apply(images, 100, still(8)._replace(theta=theta))
    for x, image, angle, zoom, shift, flip in zip(ours, normalised(images), *decoded(theta)):
        theirs = V.affine(
            image,
            float(angle),
            (100 * shift).tolist(),
            float(zoom),
            [0.0, 0.0],
            interpolation=V.InterpolationMode.BILINEAR,
        )
        theirs = V.hflip(theirs) if flip else theirs
        assert (x - theirs).abs().mean() < 1e-3


def test_colours_agree_with_torchvision_s_where_nothing_is_clipped():
    images, factors = smooth(), torch.tensor([[0.9, 1.2, 0.8], [1.1, 0.8, 1.2], [1, 1.3, 1], [1, 1, 0]])
    ours = augment.apply(images, 100, still(4)._replace(colour=factors))
    for x, image, (b, c, s) in zip(ours, images / 255, factors.tolist()):
        image = V.adjust_saturation(V.adjust_contrast(V.adjust_brightness(image, b), c), s)
        assert torch.allclose(x, V.normalize(image, MEAN, STD), atol=5e-3)


def test_bright_pixels_are_clipped_at_white():
    white = torch.full((1, 3, 8, 8), 250, dtype=torch.uint8)
    x = augment.apply(white, 8, still(1)._replace(colour=torch.tensor([[1.5, 1.0, 1.0]])))
    assert torch.allclose(x, normalised(torch.full((1, 3, 8, 8), 255)), atol=1e-4)


def test_erasing_erases_exactly_the_box():
    images = noise(2, 10)
    box = torch.tensor([[0.2, 0.3, 0.5, 0.7], [0.0, 0.0, 0.0, 0.0]])
    x, whole = (augment.apply(images, 10, still(2)._replace(box=b)) for b in (box, torch.zeros(2, 4)))
    inside = torch.zeros(2, 1, 10, 10, dtype=torch.bool)
    inside[0, :, 3:7, 2:5] = True
    assert torch.equal(x, torch.where(inside, 0, whole))


def test_what_is_erased_is_the_mean_colour_under_the_strongest_geometry_too():
    draws = augment.draw(500, seeded(), strength=4)
    draws = draws._replace(box=torch.tensor([[0.25, 0.25, 0.75, 0.75]]).expand(500, 4))
    assert not augment.apply(noise(1).expand(500, -1, -1, -1), 32, draws)[:, :, 8:24, 8:24].any()


def test_it_does_not_matter_how_the_batch_is_cut():
    images, draws = noise(7), augment.draw(7, seeded())
    cuts = slice(0, 3), slice(3, 4), torch.tensor([4, 5, 6])
    parts = [augment.apply(images[cut], 80, draws.take(cut)) for cut in cuts]
    assert torch.allclose(torch.cat(parts), augment.apply(images, 80, draws), atol=1e-4)
