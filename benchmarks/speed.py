"""Training speed beside what the device could do and beside a plain DataLoader, measured in one process.

    python benchmarks/speed.py                                          # this machine, all six models
    python benchmarks/speed.py --device cpu --models ConvNet,ResNet18 --seconds 60
    python benchmarks/speed.py --readme                                 # writes the README's table

upper bound   the bare step (forward, loss, backward, AdamW) again and again on one batch on the device
ours          the epoch as train() runs it: order, augmentation, step, clipping, moving average, sums
DataLoader    PIL images in a list, torchvision's transforms one image at a time, a DataLoader with 0 workers
              and with one a core, fp32, Adam, .item() in each step

They take turns, forwards and backwards, so that all of them get the same share of a busy or a hot machine.
What the suite sets for the whole process (TF32, cuDNN's search, the allocator) serves all of them.
"""

import copy
import difflib
import os
import re
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import models  # noqa: E402
import train_function  # noqa: E402
from benchmarks import cold, pipelines, table  # noqa: E402
from benchmarks.pipelines import Case, timed  # noqa: E402
from ferlab import cli  # noqa: E402
from ferlab.analysis import metrics  # noqa: E402
from ferlab.cli import option  # noqa: E402
from ferlab.errors import UserError, command  # noqa: E402
from ferlab.training.runtime import Runtime, init_runtime  # noqa: E402
from RAFDB_dataset import RAFDBDataset, open_source  # noqa: E402

ROUNDS = 5
PEAKS = {  # TFLOP/s of dense bf16 (of fp16 where there is no bf16), from the data sheets
    "B200": 2250, "GH200": 989, "H200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "A100": 312,
    "A30": 165, "A10": 125, "A10G": 70, "A40": 150, "L40S": 362, "L40": 181, "L4": 121, "RTX 4090": 165,
    "RTX 3090": 71, "V100": 125, "T4": 65,
}  # fmt: skip


@dataclass
class Options:
    """What to measure."""

    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    models: str = option(",".join(models.NAMES), "which models, with commas between them")
    data: str = option("", "folder or .zip of RAF-DB, or synthetic (default: RAF-DB if it is here)")
    seconds: float = option(10.0, "how long to measure each pipeline of each model", low=0)
    image_size: int = option(0, "pixels a side (0: the recipe's)", low=0, high=1024)
    batch_size: int = option(0, "images a step (0: the recipe's)", low=0)
    amp: str = option("auto", "precision: auto, bf16, fp16 or off", choices=("auto", "bf16", "fp16", "off"))
    compile: bool = option(False, "torch.compile the upper bound and ours")
    processes: int = option(1, "measure the scaling to this many processes too", low=1, high=256)
    output: str = option(str(ROOT / "benchmarks/results"), "folder of the results")
    readme: bool = option(False, "only write the README's table from the results")


def make_case(name: str, options: Options, runtime: Runtime, train: RAFDBDataset) -> Case:
    """The model with its own script's recipe and what the command line changes of it."""
    recipe = pipelines.recipe(name, image_size=options.image_size, batch_size=options.batch_size)
    return Case(name, recipe, runtime, train, options.compile)


def take_turns(each: dict[str, pipelines.Pipeline], seconds: float) -> dict[str, list[tuple[int, float]]]:
    """(steps, seconds) of every pipeline in every round; each gets `seconds` in all, but two steps a turn."""
    steps, turns = {}, {key: [] for key in each}
    for key, pipeline in each.items():
        pipeline(1)  # warms up
        steps[key] = max(2, round(seconds / ROUNDS / (pipeline(2) / 2)))
    for i in range(ROUNDS):
        for key in list(each)[:: -1 if i % 2 else 1]:
            each[key](1)  # brings back the memory and caches that the last one left in its own state
            turns[key].append((steps[key], each[key](steps[key])))
    return turns


def measure(case: Case, val: RAFDBDataset, options: Options) -> dict:
    """Everything about one model, as plain JSON values."""
    runtime, size, cores = case.runtime, case.recipe.image_size, os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    starts = cold.start(
        pipelines.script(case.name),
        [
            "--data",
            options.data,
            "--device",
            options.device,
            "--amp",
            options.amp,
            "--image-size",
            str(size),
            "--batch-size",
            str(case.batch),
        ],
    )
    loader = pipelines.dataloader(case)
    turns = take_turns(
        {
            "upper_bound": pipelines.upper_bound(case),
            "ours": pipelines.ours(case),
            "dataloader": loader(0),
            "dataloader_workers": loader(cores),
        },
        options.seconds,
    )
    rounds = {key: [n * case.batch / t for n, t in turn] for key, turn in turns.items()}
    rates = {key: statistics.median(values) for key, values in rounds.items()}

    def over(other: str) -> float:  # of the two turns of one round, which saw the same machine
        return statistics.median(a / b for a, b in zip(rounds["ours"], rounds[other]))

    flop, (most, source) = flops(case.model(), size), peak(runtime)
    return {
        "model": case.name,
        "image_size": size,
        "batch_size": case.batch,
        "precision": runtime.precision,
        "compile": case.compile,
        "data": case.train.kind,
        "train_images": len(case.train),
        "workers": cores,
        "load_before": load,
        "seconds": options.seconds,
        "images_per_second": rates,
        "rounds": rounds,
        "ours_to_upper_bound": over("upper_bound"),
        "ours_to_dataloader": over("dataloader"),
        "ours_to_dataloader_workers": over("dataloader_workers"),
        "gflop_per_image": flop / 1e9,
        "tflops": rates["ours"] * flop / 1e12,
        "peak_tflops": most,
        "peak_source": source,
        "peak_share": rates["ours"] * flop / 1e12 / most,
        "evaluation_images_per_second": evaluation(case, val, rates["upper_bound"] * options.seconds),
        "latency_ms": latency(case),
        **starts,
        "scaling": scaling(case.name, options, case, rates["ours"]) if options.processes > 1 else None,
        "environment": runtime.environment(),
        "measured": time.strftime("%Y-%m-%d %H:%M"),
    }


def evaluation(case: Case, val: RAFDBDataset, images: float) -> float:
    """Images/s of evaluate(), on as many val images as given, but 64 at least."""
    model, batches, n = case.placed(), case.batches(val), max(64, round(images))
    batches.images, batches.labels = batches.images[:n], batches.labels[:n]
    train_function.evaluate(model, batches)  # warms up
    return len(batches) / timed(case.runtime, lambda: train_function.evaluate(model, batches))


@torch.inference_mode()
def latency(case: Case) -> float:
    """Milliseconds for one image that is on the device: the median of 20."""
    model, size = case.placed().eval(), case.recipe.image_size
    x = torch.rand(1, 3, size, size, device=case.runtime.device)
    with case.runtime.autocast():
        return 1000 * statistics.median([timed(case.runtime, lambda: model(x)) for _ in range(25)][5:])


def flops(model: nn.Module, size: int) -> int:
    """Floating-point operations, two per multiply-add, to train on one image: forward and backward."""
    model = copy.deepcopy(model).to("meta").train()  # counts without computing
    return metrics.flops(lambda: model(torch.empty(2, 3, size, size, device="meta")).sum().backward()) // 2


def peak(runtime: Runtime) -> tuple[float, str]:
    """TFLOP/s that the device can do in this precision at most, and how that is known."""
    cuda = runtime.device.type == "cuda"
    if cuda and runtime.amp_dtype:
        name = torch.cuda.get_device_name(runtime.device)
        for key in sorted(PEAKS, key=len, reverse=True):
            if re.search(rf"\b{key}\b", name):
                return PEAKS[key], f"data sheet of {key}"
    n = 8192 if cuda else 2048
    a = torch.rand(n, n, device=runtime.device, dtype=runtime.amp_dtype or torch.float32)
    fastest = min([timed(runtime, lambda: a @ a) for _ in range(10)])
    return 2 * n**3 / fastest / 1e12, f"measured: product of two {n} x {n} matrices"


def scaling(name: str, options: Options, case: Case, one: float) -> dict:
    """Images/s of the suite in several processes, each with the recipe's batch, and that as a share of the
    ideal: on GPUs as many times one process, on a CPU, whose cores they share, the same.
    """
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port, result = probe.getsockname()[1], Path(folder) / "rate"
        probe.close()
        torch.multiprocessing.spawn(_process, (name, options, port, str(result)), nprocs=options.processes)
        rate = float(result.read_text())
    ideal = one * (options.processes if case.runtime.device.type == "cuda" else 1)
    return {"processes": options.processes, "images_per_second": rate, "efficiency": rate / ideal}


def _process(rank: int, name: str, options: Options, port: int, result: str) -> None:
    world = str(options.processes)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=world,
        LOCAL_WORLD_SIZE=world,
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    runtime = init_runtime(options.device, options.amp)
    case = make_case(name, options, runtime, RAFDBDataset(options.data, "train"))
    pipeline = pipelines.ours(case)
    pipeline(1)
    seconds = pipeline(2) / 2
    steps = int(
        runtime.all_reduce(torch.tensor(max(2.0, options.seconds / seconds), device=runtime.device))
        / runtime.world_size
    )  # the same for all
    if rank == 0:
        Path(result).write_text(str(steps * case.batch / pipeline(steps)))
    else:
        pipeline(steps)
    runtime.shutdown()


@command
def main() -> None:
    options = Options(**cli.typed(Options, sys.argv[1:], description="Measure the training speed."))
    cli.check(options)
    if options.readme:
        return table.write_readme(ROOT / "README.md", Path(options.output))
    names = options.models.split(",")
    for name in names:
        if name not in models.NAMES:
            close = difflib.get_close_matches(name, models.NAMES, 1, 0.4) or models.NAMES
            raise UserError(f"--models {name}: there is no such model; did you mean {', '.join(close)}?")
    if "WORLD_SIZE" in os.environ:
        raise UserError("torchrun is not needed here: --processes N starts the processes itself.")
    if not options.data:
        here = any(Path(path).exists() for path in ("raf-db-dataset", "raf-db-dataset.zip"))
        options.data = "raf-db-dataset" if here else "synthetic"
    runtime = init_runtime(options.device, options.amp)
    if runtime.device.type == "cuda" and options.processes > torch.cuda.device_count():
        raise UserError(f"--processes {options.processes}: there are {torch.cuda.device_count()} GPUs here.")
    source = open_source(options.data)
    train, val = RAFDBDataset(source, "train"), RAFDBDataset(source, "val")
    print(f"{runtime.describe()}; images/s\n{table.HEADER}", flush=True)
    for name in names:
        entry = measure(make_case(name, options, runtime, train), val, options)
        print(table.line(entry), flush=True)
        table.save(entry, Path(options.output))


if __name__ == "__main__":
    main()
