"""--device by name; mps and xpu as far as a machine without them can tell: torch's own errors, and a fake."""

import contextlib
import functools
import types

import pytest
import torch
from scripts import run as script

import models
import train_function
from ferlab.errors import UserError
from ferlab.options import Options
from ferlab.training import augment, state
from ferlab.training import device as devices
from ferlab.training.batches import Batches
from ferlab.training.imbalance import STRATEGIES, Balance
from ferlab.training.runtime import Runtime, generator, init_runtime
from RAFDB_dataset import RAFDBDataset


@pytest.mark.parametrize(
    "name, said",
    [
        ("mps", "sees no MPS device here; use --device cpu"),
        ("xpu", "sees no XPU device here"),
        ("meta", "is not supported; use auto, cpu, cuda or cuda:N; mps on an Apple chip"),
        ("gpu", "is not a valid value; use auto"),
    ],
)
def test_what_is_not_here_is_said(monkeypatch, name, said):
    for kind in devices.AVAILABLE:
        monkeypatch.setitem(devices.AVAILABLE, kind, lambda: False)
    with pytest.raises(UserError, match=f"--device {name}.*{said}"):
        devices.choose(name)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_driver_that_torch_cannot_use_is_told_once(monkeypatch, tmp_path, capsys, hidden):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "DRIVER", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    devices._warn_of_driver.cache_clear()
    assert devices.choose("auto") == devices.choose("auto") == torch.device("cpu")
    said = capsys.readouterr().err
    assert said.count("sees no GPU, so this runs on the CPU") == (0 if hidden else 1)
    monkeypatch.setattr(devices, "DRIVER", str(tmp_path / "none"))
    devices._warn_of_driver.cache_clear()
    assert devices.choose("auto").type == "cpu" and not capsys.readouterr().err


def fake(monkeypatch, kind: str) -> list[str]:
    """Torch with a device of this kind, which computes nothing; what was asked of its module."""
    asked = []
    module = types.SimpleNamespace(
        device_count=lambda: 1,
        get_device_name=lambda device: f"a {device.type} chip",
        synchronize=lambda: asked.append("synchronize"),
        max_memory_allocated=lambda: 3 << 20,
    )
    monkeypatch.setitem(devices.AVAILABLE, kind, lambda: True)
    monkeypatch.setattr(torch, "get_device_module", lambda name: module if name == kind else 1 / 0)
    return asked


@pytest.mark.parametrize(
    "kind, name, precision", [("mps", "Apple GPU", "fp32"), ("xpu", "a xpu chip", "bf16")]
)
def test_one_path_for_every_device(monkeypatch, kind, name, precision):
    asked = fake(monkeypatch, kind)
    runtime = init_runtime(kind)
    assert runtime.device.type == kind and runtime.describe() == f"{name}, {precision}"
    found = runtime.environment()
    assert (found["gpu"], found["cuda"], found["device"]) == (name, None, kind)
    with runtime.autocast():
        runtime.synchronize()
    assert asked == ["synchronize"] and not runtime.scaler.is_enabled()
    with pytest.raises(UserError, match="there are 1 such devices"):
        init_runtime(f"{kind}:1")
    with pytest.raises(UserError, match="--amp fp16 needs a CUDA GPU"):
        init_runtime(kind, "fp16")


@pytest.mark.parametrize("name, index", [("auto", 0), ("cuda", 0), ("cuda:1", 1)])
def test_one_gpu_is_named_by_its_number(monkeypatch, name, index):
    """Where torch itself checks what set_device is given; only what its driver would do is left out."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(devices.AVAILABLE, "cuda", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch._C, "_cuda_setDevice", chosen.append, raising=False)
    runtime = init_runtime(name)
    assert chosen == [index] and runtime.device == torch.device("cuda", index)
    assert runtime.amp_dtype == torch.bfloat16 and not runtime.scaler.is_enabled()
    cuda = torch.backends.cuda
    kernels = cuda.flash_sdp_enabled, cuda.mem_efficient_sdp_enabled, cuda.cudnn_sdp_enabled
    assert all(enabled() for enabled in kernels)
    init_runtime(name, deterministic=True)
    assert not any(enabled() for enabled in kernels) and cuda.math_sdp_enabled()
    init_runtime(name)
    assert all(enabled() for enabled in kernels)


@pytest.mark.parametrize(
    "name, balance",
    [*((name, "none") for name in models.NAMES[1:]), *(("ConvNet", strategy) for strategy in STRATEGIES)],
)
def test_a_step_mixes_no_devices(monkeypatch, drawn, name, balance):
    """On the meta device, which computes nothing and raises, as a GPU does, where a tensor is on the CPU."""
    monkeypatch.setattr(state, "make_optimizer", lambda model, **_: torch.optim.SGD(model.parameters()))
    monkeypatch.setattr(Runtime, "all_reduce", lambda self, sums: torch.zeros(len(sums)))
    monkeypatch.setattr(Runtime, "autocast", lambda self: contextlib.nullcontext())
    runtime = Runtime(torch.device("meta"), None)
    sets = {split: RAFDBDataset(drawn, split) for split in ("train", "val")}
    options = Options(image_size={"ViT-B16": 48, "ViT-mod": 40}.get(name, 64), batch_size=8)
    model = models.build(name, num_classes=7, image_size=options.image_size, weights="none").to("meta")
    rule = Balance(balance, sets["train"].counts, device=runtime.device)
    data = Batches(sets["train"].images[:16], sets["train"].labels[:16], options.image_size, runtime)
    draw = generator(0)
    batches = data.train(rule.order(data.host_labels, draw), 8, augment.draw(16, draw))
    training = state.TrainState(model, options, runtime, sets)
    loss = functools.partial(rule.loss, progress=0.9)
    train_function.train_one_epoch(model, batches, [0.1, 0.1], state=training, loss=loss)
    for x in data.evaluate(8):
        assert training.ema.average(x).device.type == "meta"


def test_several_processes_are_for_cpu_and_cuda(monkeypatch):
    fake(monkeypatch, "mps")
    monkeypatch.setattr("ferlab.training.runtime.torchrun_ranks", lambda: (0, 2))
    with pytest.raises(UserError, match="--device mps takes one process; start the script without torchrun"):
        init_runtime("mps")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="needs a torch without mps")
def test_an_operation_that_is_not_there_is_told_in_words():
    """What torch itself raises where its build has no kernel for the device."""
    runtime = Runtime(torch.device("mps"), None)
    with pytest.raises(
        UserError, match="cannot do this on mps .Could not run 'aten::.* use --device cpu, or "
    ):
        with runtime.errors_in_words(batch_size=1, image_size=1):
            torch.zeros(1, device="mps")
    wrong = TypeError("Cannot convert a MPS Tensor to float64 dtype")  # as torch's own says
    with pytest.raises(UserError, match="to float64"):
        with runtime.errors_in_words(batch_size=1, image_size=1):
            raise wrong
    for other in (TypeError("a bug"), ValueError("MPS")):
        here = Runtime(torch.device("cpu"), None)
        with pytest.raises(type(other)):
            with here.errors_in_words(batch_size=1, image_size=1):
                raise other


def has_mps() -> None:
    devices.AVAILABLE["mps"] = lambda: True


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="needs a torch without mps")
def test_a_script_on_a_device_without_kernels_ends_in_one_sentence(drawn, tmp_path):
    argv = ("--data", drawn, "--output", tmp_path / "out", "--image-size", 40, "--device", "mps")
    done = script("train_ConvNet.py", *argv, folder=tmp_path / "said", prepare=has_mps)
    assert done.code == 2 and "Traceback" not in done.err
    assert done.err.startswith("error: torch") and "cannot do this on mps" in done.err
