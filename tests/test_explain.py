"""Heat maps point at what decided the class, and asking for them changes nothing (about 8 s)."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import VisionTransformer

import models
from ferlab.inference.explain import explain


def planted(n: int, generator: torch.Generator, *, cell: int) -> tuple[torch.Tensor, ...]:
    """Noise in which one of 4 x 4 cells is bright (class 1) or dark (class 0): images, classes, cells."""
    images = torch.rand(n, 3, 4 * cell, 4 * cell, generator=generator) - 0.5
    where, classes = torch.randint(16, (n,), generator=generator), torch.arange(n) % 2
    cells = images.unfold(2, cell, cell).unfold(3, cell, cell)  # (n, 3, 4, 4, cell, cell), a view
    cells[torch.arange(n), :, where // 4, where % 4] = (3.0 * classes - 1.5)[:, None, None, None]
    return images, classes, where


def stretched(maps: torch.Tensor) -> torch.Tensor:
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low)


def train(model: nn.Module, cell: int, steps: int) -> nn.Module:
    generator, optimizer = torch.Generator().manual_seed(0), torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        images, classes, _ = planted(32, generator, cell=cell)
        F.cross_entropy(model(images), classes).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.fixture(scope="module")
def vit() -> VisionTransformer:
    """A very small ViT of torchvision's class that tells bright from dark patches."""
    torch.manual_seed(0)
    model = VisionTransformer(
        image_size=40, patch_size=10, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=32, num_classes=7
    )
    model.built = {"name": "ViT-mod", "num_classes": 7, "image_size": 40}
    return train(model, 10, 80)


@pytest.fixture(scope="module")
def convnet() -> nn.Module:
    return train(models.build("ConvNet", image_size=64), 16, 12)


@pytest.mark.parametrize(("name", "cell"), [("vit", 10), ("convnet", 16)])
def test_the_map_points_at_the_patch_that_decides(name, cell, request):
    model = request.getfixturevalue(name)
    images, classes, where = planted(64, torch.Generator().manual_seed(1), cell=cell)
    with torch.no_grad():
        assert torch.equal(model(images).argmax(1), classes)  # by the patch: nothing else differs
    maps = explain(model, images)
    assert maps.shape == (64, 4 * cell, 4 * cell)
    assert maps.amin() == 0 and maps.amax() <= 1
    hottest = F.avg_pool2d(maps[:, None], cell).flatten(1).argmax(1)
    assert (hottest == where).float().mean() > 0.8  # by chance 0.06


@pytest.mark.parametrize(("name", "channels"), [("ResNet18", 512), ("GoogLeNet", 1024), ("VGG16", 512)])
def test_grad_cam_under_a_linear_head_is_the_class_activation_map(name, channels):
    """Where a logit is a weighted mean of the last maps, Grad-CAM is that weighting (its paper, 3.1)."""
    model = models.build(name, image_size=64).eval()
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(7, channels, generator=generator)
    head = nn.Linear(channels, 7, bias=False)
    head.weight.data = weight
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    if name == "VGG16":
        model.features[43], model.classifier = nn.Identity(), head
    else:
        model.fc = head
    kept = []
    last = {"ResNet18": "layer4.1", "GoogLeNet": "inception5b", "VGG16": "features"}[name]
    hook = model.get_submodule(last).register_forward_hook(lambda module, args, output: kept.append(output))
    images = torch.randn(2, 3, 64, 64, generator=generator)
    with torch.no_grad():
        chosen = model(images).argmax(1)
    hook.remove()
    expected = torch.einsum("nchw,nc->nhw", kept[0], weight[chosen]).relu()
    expected = F.interpolate(expected[:, None], (64, 64), mode="bilinear")[:, 0]
    assert expected.std((1, 2)).min() > 0
    torch.testing.assert_close(explain(model, images), stretched(expected), rtol=1e-3, atol=1e-4)


def test_rollout_is_the_product_of_the_layers_attention(vit):
    images, _, _ = planted(3, torch.Generator().manual_seed(2), cell=10)
    tokens = torch.cat([vit.class_token.expand(3, -1, -1), vit._process_input(images)], 1)
    tokens = tokens + vit.encoder.pos_embedding
    product = torch.eye(17)
    with torch.no_grad():
        for block in vit.encoder.layers:
            seen = block.ln_1(tokens)
            attention = block.self_attention(seen, seen, seen, need_weights=True)[1]
            product = (attention + torch.eye(17)) / 2 @ product
            tokens = block(tokens)
    expected = F.interpolate(product[:, :1, 1:].view(3, 1, 4, 4), (40, 40), mode="bilinear")[:, 0]
    torch.testing.assert_close(explain(vit, images), stretched(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["vit", "convnet"])
def test_explaining_changes_nothing(name, request):
    model = request.getfixturevalue(name)
    size = model.built["image_size"]
    images = torch.randint(256, (2, 3, 100, 100), dtype=torch.uint8)
    ready = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        before = model(ready)
        maps = explain(model.train(), images)  # works without gradients too, and at the images' own size
    assert model.training and maps.shape == (2, 100, 100)
    assert torch.equal(explain(model.eval(), images), maps)  # dropout does not play along
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    with torch.inference_mode():
        assert torch.equal(model(ready), before)


def test_a_map_of_nothing_is_zero():
    model = models.build("ConvNet", image_size=22).eval()
    nn.init.zeros_(model.classifier[-1].weight)
    assert torch.equal(explain(model, torch.randn(2, 3, 22, 22)), torch.zeros(2, 22, 22))


def test_a_map_that_is_alike_everywhere_is_zero():
    """At 32 pixels ResNet18's last map is one cell: its rounding must not be stretched to a picture."""
    model = models.build("ResNet18", image_size=32).eval()
    faces = torch.randint(256, (8, 3, 100, 100), generator=torch.Generator().manual_seed(0)).byte()
    assert not explain(model, faces).any()
