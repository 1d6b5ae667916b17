"""The six models on tiny synthetic batches, and weights from files. python -m pytest tests/test_models.py"""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch.utils.flop_counter import FlopCounterMode

import models
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import UserError
from ferlab.training import checkpoint

# each at the smallest size that exercises it, and its parameters at its own size with 7 classes
SIZES = {"ConvNet": 40, "ResNet18": 64, "VGG16": 32, "GoogLeNet": 64, "ViT-B16": 32, "ViT-mod": 20}
PARAMETERS = {
    "ConvNet": 1_729_383,
    "ResNet18": 11_180_103,
    "VGG16": 134_297_671,
    "GoogLeNet": 5_607_079,
    "ViT-B16": 85_804_039,
    "ViT-mod": 85_370_887,
}


@pytest.mark.parametrize("name", models.NAMES)
def test_forward_and_backward(name):
    model = models.build(name, num_classes=7, image_size=SIZES[name])
    head = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]
    torch.nn.init.normal_(head.weight)  # torchvision's ViT starts it at zero, and hides all below
    logits = model(torch.randn(2, 3, SIZES[name], SIZES[name]))
    assert logits.shape == (2, 7)
    assert torch.isfinite(logits).all()
    F.cross_entropy(logits, torch.tensor([0, 6])).backward()
    without = [
        key for key, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()
    ]
    assert without == []
    dead = [key for key, p in model.named_parameters() if p.grad.abs().sum() == 0 and p.numel() > 10_000]
    assert dead == []


@pytest.mark.parametrize("name", models.NAMES)
def test_parameter_count_and_logits(name):
    with torch.device("meta"):
        architecture = models.ARCHITECTURES[name]
        model = architecture.make(num_classes=7, image_size=architecture.image_size)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    assert not any(isinstance(m, (torch.nn.Softmax, torch.nn.LogSoftmax)) for m in model.modules())


def test_convnet_is_the_one_described():
    model = models.build("ConvNet")
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(m.out_channels, m.kernel_size, m.padding) for m in convolutions] == [
        (64, (3, 3), (0, 0)),
        (64, (3, 3), (0, 0)),
        (32, (3, 3), (0, 0)),
    ]
    assert [m.out_features for m in model.modules() if isinstance(m, torch.nn.Linear)] == [512, 64, 7]
    assert [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)] == [0.5, 0.5]


def test_pooling_before_relu_is_relu_before_pooling():
    model = models.build("ConvNet", image_size=40).eval()
    x = torch.randn(2, 3, 40, 40)
    expected = x
    for convolution in (m for m in model.features if isinstance(m, torch.nn.Conv2d)):
        expected = F.max_pool2d(F.relu(convolution(expected)), 2)
    assert torch.equal(model.features(x), expected)


def test_seed_decides_the_weights_and_leaves_torch_alone():
    before = torch.get_rng_state()
    a, b, c = (models.build("ConvNet", image_size=22, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a.features[0].weight, b.features[0].weight)
    assert not torch.equal(a.features[0].weight, c.features[0].weight)


@pytest.mark.parametrize(
    "name, size",
    [("ConvNet", 21), ("ResNet18", 31), ("VGG16", 31), ("GoogLeNet", 31), ("ViT-B16", 100), ("ViT-mod", 224)],
)
def test_sizes_that_do_not_fit_are_refused(name, size):
    with pytest.raises(UserError, match=f"image_size is {size}.*--image-size"):
        models.build(name, image_size=size)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean ResNet18"):
        models.build("resnet18")


@pytest.mark.parametrize("name", ["ConvNet", "ViT-mod"])
def test_imagenet_weights_that_do_not_exist(name):
    with pytest.raises(UserError, match="has no ImageNet weights.*--weights none"):
        models.build(name, image_size=40, weights="imagenet")


def imagenet_state(name):
    """A state dict with ImageNet's names and shapes: 1000 classes, and torchvision's auxiliary heads."""
    import torchvision

    makers = {
        "ResNet18": torchvision.models.resnet18,
        "GoogLeNet": lambda: torchvision.models.googlenet(init_weights=False),
        "ViT-B16": torchvision.models.vit_b_16,
    }
    return makers[name]().state_dict()


@pytest.mark.parametrize("name, size", [("ResNet18", 64), ("GoogLeNet", 64), ("ViT-B16", 32)])
def test_imagenet_weights_from_torchvisions_cache(name, size, tmp_path, monkeypatch):
    state = imagenet_state(name)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    weights = models.ARCHITECTURES[name].imagenet.WEIGHTS
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, **_: dict(state))
    model = models.build(name, image_size=size, weights="imagenet")
    loaded = model.state_dict()
    heads = models.ARCHITECTURES[name].imagenet.HEADS
    same = [key for key in loaded if not key.startswith(heads) and loaded[key].shape == state[key].shape]
    assert all(torch.equal(loaded[key], state[key]) for key in same)
    assert set(loaded) - set(same) <= {"encoder.pos_embedding", *(k for k in loaded if k.startswith(heads))}
    assert model(torch.randn(2, 3, size, size)).shape == (2, 7)
    assert name != "GoogLeNet" or model.transform_input  # as torchvision's own does with these weights
    broken = {key: value for key, value in state.items() if "conv1" not in key and "conv_proj" not in key}
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, **_: dict(broken))
    with pytest.raises(UserError, match=f"is not {name}'s"):
        models.build(name, image_size=size, weights="imagenet")


def test_download_that_fails_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(UserError) as error:
        models.build("ResNet18", weights="imagenet")
    address = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    for part in (address, str(tmp_path), "--weights none"):
        assert part in str(error.value)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html>", b""])
def test_a_wrong_file_in_torchvisions_cache(content, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = models.imagenet_file("ResNet18")
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"{file} is damaged.*Delete it"):
        models.build("ResNet18", weights="imagenet")


def save(path, model, **changes):
    about = {"model": model.built, "class_names": list(CLASS_NAMES)}
    state = {**about, "weights": model.state_dict(), **changes}
    checkpoint.save(path, state)
    return path


def test_load_rebuilds_the_model(tmp_path):
    model = models.build("ConvNet", image_size=40, seed=3).eval()
    path = save(tmp_path / "best_model.pth", model, note="kept")
    again = models.load(path)
    x = torch.randn(2, 3, 40, 40)
    assert torch.equal(again(x), model(x))
    assert not again.training
    assert again.checkpoint["note"] == "kept"
    assert again.class_names == CLASS_NAMES


def test_weights_from_a_checkpoint(tmp_path):
    path = save(tmp_path / "a.pth", models.build("ConvNet", image_size=40, seed=3))
    model = models.build("ConvNet", image_size=40, weights=path, seed=4)
    assert torch.equal(model.features[0].weight, models.load(path).features[0].weight)
    with pytest.raises(UserError, match="holds a ConvNet, not a ResNet18"):
        models.build("ResNet18", image_size=40, weights=path)
    with pytest.raises(UserError, match=r"classifier.1.weight is \(512, 288\) there and \(512, 1152\) here"):
        models.build("ConvNet", image_size=64, weights=path)


@pytest.mark.parametrize("name, size", [("ViT-B16", 32), ("ViT-mod", 20)])
def test_a_vit_trains_with_fused_attention(name, size):
    model = models.build(name, image_size=size).train()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        model(torch.randn(2, 3, size, size)).sum().backward()
    counts = {event.key.removeprefix("aten::"): event.count for event in profile.key_averages()}
    assert counts["_scaled_dot_product_flash_attention_for_cpu_backward"] == 12
    assert "_softmax" not in counts and "bmm" not in counts


def small_vit(cls=models.ViT.PatchDropoutViT):
    """16 patches of 8 pixels; its head, which torchvision starts at zero, lets through what is below."""
    torch.manual_seed(0)
    model = cls(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=24, mlp_dim=32, num_classes=7
    )
    torch.nn.init.normal_(model.heads.head.weight)
    return model


def layers_input(model, x):
    """What reaches the layers of the encoder: the class token and the patches (B, 1 + N, D)."""
    seen = []
    hook = model.encoder.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(x)
    hook.remove()
    return seen[0]


def test_a_vit_that_drops_no_patches_is_torchvisions():
    ours, theirs = small_vit(), small_vit(torchvision.models.VisionTransformer)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 3, 32, 32)
    assert torch.equal(ours.train()(x), theirs.train()(x))  # keeps all
    ours.patch_keep = 0.25
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
    assert not torch.equal(ours.train()(x), theirs.train()(x))
    ours.patch_keep = 0.99  # of 16 all, in another order, which attention does not see
    assert torch.allclose(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("keep, number", [(0.05, 1), (0.25, 4), (0.5, 8), (0.72, 12), (0.99, 16)])
def test_the_patches_that_are_kept_keep_their_positions(keep, number):
    model, x = small_vit().train(), torch.randn(6, 3, 32, 32)
    model.class_token.data.normal_()
    everything = layers_input(model, x)  # the position is in it: no patch elsewhere would be the same
    model.patch_keep = keep
    torch.manual_seed(5)
    tokens = layers_input(model, x)
    assert tokens.shape == (6, 1 + number, 24)
    assert torch.equal(tokens[:, 0], everything[:, 0])
    which = (tokens[:, 1:, None] == everything[:, None, 1:]).all(3)  # (B, kept, N)
    assert (which.sum(2) == 1).all() and (which.sum(1) <= 1).all()  # each is one of them, none is twice
    kept = which.any(1)
    assert number == 16 or len({tuple(row) for row in kept.tolist()}) > 1  # another choice for each image
    torch.manual_seed(5)
    assert torch.equal(layers_input(model, x), tokens)
    assert number == 16 or not torch.equal(layers_input(model, x), tokens)


def test_only_the_kept_patches_have_a_gradient():
    model = small_vit().train()
    model.patch_keep = 0.25
    x = torch.randn(4, 3, 32, 32, requires_grad=True)
    model(x).square().sum().backward()
    patches = x.grad.abs().unfold(2, 8, 8).unfold(3, 8, 8).sum((1, 4, 5)).flatten(1)  # (B, 16)
    assert ((patches > 0).sum(1) == 4).all()
    reached = model.encoder.pos_embedding.grad[0].abs().sum(1) > 0
    assert reached[0] and torch.equal(reached[1:], (patches > 0).any(0))


def test_what_dropping_patches_saves():
    with torch.device("meta"):
        model, x = models.ViT.vit_b16(num_classes=7, image_size=96), torch.empty(2, 3, 96, 96)
    flops = {}
    for keep in (1.0, 0.5, 0.25):
        model.patch_keep = keep
        with FlopCounterMode(display=False) as counter:
            model.train()(x)
        flops[keep] = counter.get_total_flops()
    assert 0.5 < flops[0.5] / flops[1.0] < 0.55 and 0.25 < flops[0.25] / flops[1.0] < 0.3


def test_every_patch_is_kept_equally_often():
    model, x = small_vit().train(), torch.randn(1, 3, 32, 32).expand(2000, -1, -1, -1)
    everything = layers_input(model, x[:1])
    model.patch_keep = 0.25
    with torch.no_grad():
        tokens = layers_input(model, x)
    often = (tokens[:, 1:, None] == everything[:, None, 1:]).all(3).any(1).float().mean(0)
    assert ((often - 0.25).abs() < 0.05).all()  # five standard deviations
