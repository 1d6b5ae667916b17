"""--weights with files from elsewhere: what fits is loaded and counted, the rest named, code is not run."""

import pytest
import torch
import torchvision
from test_train import folder, run

import models
from ferlab.errors import UserError


def face_recognition() -> dict:
    """A ResNet18 as face recognition trains it: 512 numbers come out, under names of its own."""
    net = torchvision.models.resnet18(num_classes=512)
    return net.state_dict()


WRAPPED = {
    "plain": lambda state: state,
    "module": lambda state: {f"module.{key}": value for key, value in state.items()},
    "Lightning": lambda state: {
        "epoch": 3,
        "state_dict": {f"model.{key}": value for key, value in state.items()},
        "optimizer_states": [],
    },
    "backbone beside a head": lambda state: {
        "model": {"arcface.weight": torch.ones(9, 512)}
        | {f"module.backbone.{key}": value for key, value in state.items()}
    },
    "without counters": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
    "half precision": lambda state: {k: v.half() for k, v in state.items()},
}


@pytest.mark.parametrize("case", WRAPPED)
def test_what_fits_is_loaded_and_counted(tmp_path, case):
    torch.save(WRAPPED[case](state := face_recognition()), path := tmp_path / "face.pth")
    model = models.build("ResNet18", image_size=64, weights=path)
    loaded, new = model.state_dict(), models.build("ResNet18", image_size=64).state_dict()
    tolerance = 1e-3 if case == "half precision" else 0
    for key, value in state.items():
        if not key.startswith("fc.") and not key.endswith("num_batches_tracked"):
            assert torch.allclose(loaded[key], value, rtol=0, atol=tolerance), key
    assert torch.equal(loaded["fc.weight"], new["fc.weight"])
    said = (
        f"{path}: 100 of the 102 tensors of ResNet18 (99 % of its weights) fitted; not fc.weight (512 x 512"
    )
    assert said in model.loaded
    assert ("of no use here: arcface.weight" in model.loaded) == (case == "backbone beside a head")


def test_what_does_not_fit_is_refused(tmp_path):
    state = face_recognition()
    cases = {
        "has only 0 of the 12 tensors of ConvNet": ("ConvNet", state),
        "has only 4[0-9] of the 102 tensors of ResNet18": ("ResNet18", dict(list(state.items())[:50])),
        "has only 0 of the": ("ResNet18", [state]),
        r"has only 54 of the 102 tensors of ResNet18 \(": ("ResNet18", dict(list(state.items())[:64])),
        r"cannot be used \(bn1.running_var\)": (
            "ResNet18",
            state | {"bn1.running_var": -state["bn1.running_var"]},
        ),
        r"that cannot be used \(conv1.weight\)": (
            "ResNet18",
            state | {"conv1.weight": state["conv1.weight"] / 0},
        ),
    }
    for said, (name, content) in cases.items():
        torch.save(content, path := tmp_path / "other.pth")
        with pytest.raises(UserError, match=f"{path}.*{said}"):
            models.build(name, image_size=64, weights=path)


def test_a_whole_pickled_model_is_not_opened(tmp_path):
    torch.save(torchvision.models.resnet18(), path := tmp_path / "whole.pth")
    with pytest.raises(UserError, match="could run code; .* of other models their state_dict.. is taken"):
        models.build("ResNet18", image_size=64, weights=path)


def test_a_run_says_what_it_started_from(options, tmp_path, capsys):
    state = models.build("ConvNet", image_size=40, seed=5).state_dict()
    state.pop(last := list(state)[-1])
    torch.save({"state_dict": state}, path := tmp_path / "mine.pt")
    run(options, weights=str(path), epochs=1)
    said = capsys.readouterr().out
    assert f"ConvNet from {path}: " in said and f"\nweights: {path}: " in said
    assert f"fitted; not {last} (missing there, 7 here)" in said
    assert folder(options)
