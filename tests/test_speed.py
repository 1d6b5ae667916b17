"""benchmarks/: a few seconds of the real measurement on a small case, and its parts. No time is asserted."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import models
import train_function
from benchmarks import pipelines, speed, table
from ferlab.errors import UserError
from ferlab.training.runtime import Runtime, init_runtime
from RAFDB_dataset import RAFDBDataset

ENTRY = {
    "model": "ConvNet", "image_size": 100, "batch_size": 64, "precision": "bf16", "compile": False,
    "data": "RAF-DB",
    "images_per_second": {"upper_bound": 1234.5, "ours": 1200, "dataloader": 50, "dataloader_workers": 70},
    "ours_to_upper_bound": 0.972, "ours_to_dataloader": 24.0, "ours_to_dataloader_workers": 17.1,
    "tflops": 0.7, "peak_share": 0.62, "evaluation_images_per_second": 4000, "latency_ms": 1.5,
    "cold_seconds": 9.4, "cached_seconds": 4.1, "peak_memory_mib": 1536, "scaling": None,
    "environment": {"gpu": None, "cpu": "Tin Can", "cores": 2, "torch": "2.10.0"},
}  # fmt: skip


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["speed.py", *arguments])
    speed.main()


@pytest.fixture
def case(drawn) -> pipelines.Case:
    recipe = pipelines.recipe("ConvNet", image_size=22, batch_size=20)
    return pipelines.Case("ConvNet", recipe, init_runtime("cpu", "off"), RAFDBDataset(drawn, "train"))


def test_a_small_measurement_writes_all_that_was_measured(drawn, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "ROUNDS", 2)
    arguments = {
        "device": "cpu",
        "models": "ConvNet",
        "data": drawn,
        "image-size": 32,
        "batch-size": 14,
        "amp": "off",
        "seconds": 0,
        "output": tmp_path,
    }
    run(monkeypatch, *(f"--{key}={value}" for key, value in arguments.items()))
    (path,) = tmp_path.glob("*.json")
    results = json.loads(path.read_text())
    entry = results["models"]["ConvNet"]
    told = {"image_size": 32, "batch_size": 14, "precision": "fp32", "data": "drawn faces", "seconds": 0,
            "train_images": len(RAFDBDataset(drawn, "train")), "scaling": None, "compile": False}  # fmt: skip
    assert {key: entry[key] for key in told} == told
    assert entry["environment"]["torch"] == torch.__version__
    assert entry["environment"]["device"] == "cpu"
    assert results["device"] == f"{entry['environment']['cpu']}, {entry['workers']} cores"
    rounds = entry["rounds"]
    assert list(rounds) == ["upper_bound", "ours", "dataloader", "dataloader_workers"]
    assert all(len(values) == 2 and min(values) > 0 for values in rounds.values())
    assert entry["images_per_second"] == {key: statistics.median(values) for key, values in rounds.items()}
    for ratio, other in (
        ("ours_to_upper_bound", "upper_bound"),
        ("ours_to_dataloader", "dataloader"),
        ("ours_to_dataloader_workers", "dataloader_workers"),
    ):
        assert entry[ratio] == statistics.median(a / b for a, b in zip(rounds["ours"], rounds[other]))
    assert entry["tflops"] == pytest.approx(
        entry["images_per_second"]["ours"] * entry["gflop_per_image"] / 1000
    )
    assert entry["peak_share"] == pytest.approx(entry["tflops"] / entry["peak_tflops"])
    more = "evaluation_images_per_second", "latency_ms", "cold_seconds", "cached_seconds", "peak_memory_mib"
    assert all(entry[key] > 0 for key in more)
    assert capsys.readouterr().out.splitlines()[-2:] == [table.HEADER, table.line(entry)]


@pytest.mark.parametrize("name", models.NAMES)
def test_recipes_come_from_the_train_scripts(name):
    recipe, smaller = pipelines.recipe(name), pipelines.recipe(name, image_size=60, batch_size=8)
    assert f'parse("{name}"' in pipelines.script(name).read_text()
    assert f"batch_size={recipe.batch_size}" in pipelines.script(name).read_text()
    assert recipe.weights == "none" and recipe.image_size in (40, 48, 64, 100, 224)
    assert (smaller.image_size, smaller.batch_size, smaller.lr) == (60, 8, recipe.lr)


def test_turns_go_forwards_and_backwards():
    played = []

    def way(name: str, seconds_a_step: float) -> pipelines.Pipeline:
        return lambda steps: played.append(name) or steps * seconds_a_step

    turns = speed.take_turns({"a": way("a", 0.1), "b": way("b", 10.0)}, seconds=5 * speed.ROUNDS)
    assert "".join(played) == "aabb" + "aabb" + "bbaa" + "aabb" + "bbaa" + "aabb"  # each turn is warmed up
    assert turns == {"a": [(50, pytest.approx(5.0))] * 5, "b": [(2, 20.0)] * 5}  # but two steps at least


def test_ours_trains_whole_epochs_and_then_a_part(case, monkeypatch):
    epochs, real = [], train_function.train_one_epoch

    def counting(net, batches, rates, **rest):
        epochs.append(list(batches))
        return real(net, epochs[-1], rates, **rest)

    monkeypatch.setattr(train_function, "train_one_epoch", counting)
    whole = len(case.train) // 20
    pipelines.ours(case)(2 * whole + 1)
    assert [len(epoch) for epoch in epochs] == [whole, whole, 1]
    assert all(x.shape == (20, 3, 22, 22) for epoch in epochs for x, _ in epoch)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_usual_way_trains_as_many_steps_as_asked(case, workers, monkeypatch):
    steps = []
    monkeypatch.setattr(torch.optim.Adam, "step", lambda optimizer: steps.append("step"))
    pipelines.dataloader(case)(workers)(3)
    assert len(steps) == 3 + workers  # with workers, as many before the clock starts


def test_the_dataloader_s_pictures_are_ours(case):
    pictures = pipelines.Pictures(case.train, 22)
    pictures.transform.transforms = pictures.transform.transforms[-3:]  # without the random ones
    x, label = pictures[5]
    small = pipelines.Batches(case.train.images[5:6], case.train.labels[5:6], 22, case.runtime)
    assert label == case.train.labels[5] and x.shape == (3, 22, 22)
    assert x.mean() == pytest.approx(float(next(small.evaluate(1)).mean()), abs=0.05)


def test_flops_are_counted_forwards_and_backwards_attention_included():
    conv = 2 * 9 * (20**2 * 3 * 64 + 8**2 * 64 * 64 + 2**2 * 64 * 32)
    linear = 2 * (32 * 512 + 512 * 64 + 64 * 7)
    first = 2 * 9 * 20**2 * 3 * 64  # needs no gradient of the picture
    assert speed.flops(models.build("ConvNet", image_size=22), 22) == 3 * (conv + linear) - first
    tokens, width, blocks = 5, 768, 12
    attention = 2 * 2 * tokens**2 * width
    block = 2 * tokens * width * (3 + 1 + 4 + 4) * width + attention
    patches, head = 2 * (tokens - 1) * 300 * width, 2 * width * 7
    expected = 3 * (blocks * block + head) + 2 * patches
    assert speed.flops(models.build("ViT-mod", image_size=20), 20) == expected


@pytest.mark.parametrize(
    "name, tflops",
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10G", 70),
        ("NVIDIA A10", 125),
        ("NVIDIA L40S", 362),
        ("Tesla T4", 65),
    ],
)
def test_the_peak_of_a_known_gpu_is_its_data_sheet_s(name, tflops, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: name)
    assert speed.peak(Runtime(torch.device("cuda"), torch.bfloat16))[0] == tflops


def test_a_second_model_joins_the_device_s_file(tmp_path):
    for model, compiled in (("VGG16", False), ("ConvNet", True), ("ConvNet", False), ("VGG16", False)):
        path = table.save({**ENTRY, "model": model, "compile": compiled}, tmp_path)
    assert path.name == "speed-tin-can-2-cores.json"
    assert list(json.loads(path.read_text())["models"]) == ["ConvNet", "ConvNet compiled", "VGG16"]


def test_the_readme_s_table_is_written_between_its_marks(tmp_path):
    readme, results = tmp_path / "README.md", tmp_path / "results"
    before, after = "# Title\n\nText | with | bars\n\n", "\n\n## More\n"
    readme.write_text(f"{before}{table.BEGIN}\nOUTDATED\n{table.END}{after}")
    table.save(ENTRY, results)
    (results / "alignment.json").write_text("{}")  # another benchmark's
    table.write_readme(readme, results)
    once = readme.read_text()
    assert once.startswith(before + table.BEGIN) and once.endswith(table.END + after)
    assert "OUTDATED" not in once
    assert "Tin Can, 2 cores: bf16, RAF-DB, torch 2.10.0" in once
    numbers = "1,234 | 1,200 | 50 | 70 | 0.972 | 24.00 | 17.10 | 62 % | 1.50 ms | 1.5 GiB"
    assert f"| ConvNet | 100 | 64 | {numbers} |" in once
    table.write_readme(readme, results)
    assert readme.read_text() == once
    readme.write_text(f"{table.END} {table.BEGIN}")
    with pytest.raises(UserError, match="must have <!-- speed --> and"):
        table.write_readme(readme, results)
    with pytest.raises(UserError, match="there are no results in"):
        table.write_readme(readme, tmp_path / "empty")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["--models", "ConvNet,Resnet18"],
            "--models Resnet18: there is no such model; did you mean ResNet18",
        ),
        (["--model", "ConvNet"], "there is no option --model; did you mean --models?"),
        (["--processes", "0"], "--processes is 0; it must be 1 to 256."),
    ],
)
def test_mistakes_end_in_one_sentence(arguments, message, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, *arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("script", ["speed", "alignment"])
def test_a_benchmark_starts_as_a_script_from_the_repository(script):
    command = [sys.executable, f"benchmarks/{script}.py", "--help"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "usage:" in done.stdout, done.stderr
