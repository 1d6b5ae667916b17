"""The one training loop: every train_*.py calls train(model, train_set, val_set, test_set, options).

python train_ResNet.py                                   # CPU or one GPU
torchrun --nproc_per_node=4 train_ResNet.py              # 4 GPUs; --batch-size counts all of them
torchrun --nnodes=2 --nproc_per_node=8 --rdzv_backend=c10d --rdzv_endpoint=HOST:29500 train_ResNet.py
"""

import math
import runpy
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

import models
from ferlab.analysis import metrics, plots
from ferlab.data import duplicates
from ferlab.options import Options
from ferlab.training import augment
from ferlab.training.batches import Batches
from ferlab.training.checkpoint import CheckpointWriter, save_model
from ferlab.training.imbalance import Balance
from ferlab.training.interrupt import Interrupt
from ferlab.training.recipe import parse, validate  # noqa: F401  (the scripts take parse from here)
from ferlab.training.report import Report, to_csv, to_json
from ferlab.training.run_folder import (
    RunFolder,
    check_run_folder,
    checkpoint,
    resume_command,
    resumes_in_place,
    run_path,
)
from ferlab.training.runtime import Runtime, generator, init_runtime, seed_everything
from ferlab.training.state import TrainState
from ferlab.training.summary import peak_memory, predictions_table, rounded, summarize
from RAFDB_dataset import RAFDBDataset, describe


def script_options(model: str, argv: Sequence[str]) -> Options:
    """The options that the model's script would train with, were it called with `argv`. Raises UserError."""
    script = runpy.run_path(str(Path(__file__).resolve().parent / models.ARCHITECTURES[model].script))
    return script["parse"](model, script["RECIPES"], list(argv))


def train_one_epoch(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    rates: Iterable[float],
    *,
    state: TrainState,
    loss: Callable[[Tensor, Tensor], Tensor],
    check: Callable[[], None] = lambda: None,
) -> dict:
    """One pass over `batches` of (x, y) on the device; nothing in a step waits for it.

    `rates` are the learning rates of the steps; `check` is called after each and may raise. Returns loss and
    accuracy over all processes.
    """
    model.train()
    runtime, optimizer, scaler = state.runtime, state.optimizer, state.runtime.scaler
    clip = state.options.grad_clip or math.inf
    sums, steps = torch.zeros(2, device=runtime.device), 0
    for (x, y), rate in zip(batches, rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        with runtime.autocast():
            logits = model(x)
        logits = logits.float()
        value = loss(logits, y)
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        state.ema.update()
        sums += torch.stack([value.detach(), (logits.detach().argmax(1) == y).float().mean()])
        steps += 1
        check()
    mean = (runtime.all_reduce(sums) / (max(1, steps) * runtime.world_size)).tolist()
    return {"loss": mean[0], "accuracy": mean[1]}


@torch.inference_mode()
def evaluate(
    model: nn.Module, batches: Batches, *, batch_size: int = 256, check: Callable[[], None] = lambda: None
) -> dict:
    """Loss, accuracy, balanced accuracy, macro-F1 and all logits (N, C) on the host, exact for any number of
    processes. `check` is called after each batch and may raise.
    """
    runtime = batches.runtime
    model.eval()
    outputs = []
    for x in batches.evaluate(batch_size):
        with runtime.autocast():
            outputs.append(model(x).float())
        check()
    classes = runtime.all_reduce_max(outputs[0].shape[1] if outputs else 0)
    logits = torch.zeros(len(batches), classes, device=runtime.device)
    if outputs:
        logits[runtime.rank :: runtime.world_size] = torch.cat(outputs)
    logits = runtime.all_reduce(logits).cpu()  # each process filled its own rows, the others are zero
    labels = batches.labels.cpu()
    numbers = metrics.from_confusion(metrics.confusion_matrix(logits.argmax(1), labels, classes=classes))
    scores = {key: float(numbers[key]) for key in metrics.SCORES}
    return {"loss": float(F.cross_entropy(logits, labels)), **scores, "logits": logits}


def train(
    model: nn.Module,
    train_set: RAFDBDataset,
    val_set: RAFDBDataset,
    test_set: RAFDBDataset | None,
    options: Options,
) -> dict:
    """Train `model` (from models.build) on the splits (from RAFDB_dataset.load_splits) as `options` say,
    write results/<Model>/<run>/, return its final numbers.

    Checkpoints are chosen by macro-F1 on val; the test set, if there is one, is evaluated once, at the end.
    Raises UserError with its exit code: 2 wrong input, 3 numbers gone bad, 4 cannot write, 130, 143 stopped.
    """
    begun = time.perf_counter()
    options = validate(model, options, classes=train_set.num_classes)
    name = model.built["name"]
    path = run_path(name, options)
    sets = {part.split: part for part in (train_set, val_set, test_set) if part is not None}
    runtime = init_runtime(options.device, options.amp, deterministic=options.deterministic)
    with (
        runtime.errors_in_words(batch_size=options.batch_size, image_size=options.image_size),
        Interrupt(runtime, resume_command(path, options, world_size=runtime.world_size)) as interrupt,
        RunFolder(path, enabled=runtime.rank == 0) as folder,
    ):
        report = Report(folder, options, runtime)
        same = duplicates.between(*sets.values())
        report.begin(model, describe(*sets.values(), same=same))
        duplicates.raise_on_leakage(same)
        with runtime.main_process_first():
            folder.lock()
            check_run_folder(name, options)
        model, data = _on_device(model, sets, options, runtime)
        balance = Balance(options.balance, train_set.counts, device=runtime.device)
        state = TrainState(model, options, runtime, sets)
        if options.resume:
            state.resume(checkpoint(name, options))
        folder.clear(resumed=resumes_in_place(name, options))
        report.table(state.log, state.best["epoch"])
        begun -= state.seconds  # what it took before it was resumed
        net = runtime.parallel(model)
        net = torch.compile(net, dynamic=False) if options.compile else net  # once for each size
        with CheckpointWriter(path, enabled=runtime.rank == 0) as writer:
            writer.save(state.state_dict())  # finds out now whether it can be written
            while not state.end():
                row = _epoch(net, state, data, balance, interrupt)
                if not math.isfinite(row["train_loss"] + row["val_loss"]):
                    raise report.diverged(row["epoch"], last_good=state.epoch)
                better = state.done(row)
                state.seconds = time.perf_counter() - begun
                report.epoch(state.log, better=better)
                writer.save(state.state_dict())
                interrupt.check(f"after epoch {state.epoch}", now=True)
        predictions, fitted = _predict(state, data, balance, interrupt)
        if runtime.rank == 0:
            seconds = time.perf_counter() - begun
            numbers = _write(state, sets, predictions, fitted, folder, repeated=same, seconds=seconds)
            report.summary(numbers)
    runtime.shutdown()  # not after an error: to leave takes time, in which torchrun may silence its message
    return numbers if runtime.rank == 0 else {}


def _on_device(
    model: nn.Module, sets: dict[str, RAFDBDataset], options: Options, runtime: Runtime
) -> tuple[nn.Module, dict[str, Batches]]:
    """The model, and the splits as batches."""
    convolutional = models.ARCHITECTURES[model.built["name"]].convolutional
    layout = torch.channels_last if convolutional else torch.contiguous_format
    make = partial(Batches, channels_last=convolutional, resolution=options.resolution)
    data = {
        split: make(part.images, part.labels, options.image_size, runtime) for split, part in sets.items()
    }
    return model.to(runtime.device, memory_format=layout), data


def _epoch(net: nn.Module, state: TrainState, data: dict, balance: Balance, interrupt: Interrupt) -> dict:
    """Train and evaluate the next epoch; its row of log.csv."""
    options, runtime, clock = state.options, state.runtime, time.perf_counter()
    epoch, size = state.epoch + 1, state.resize()
    data["train"].size = data["val"].size = size
    seed_everything(options.seed, state.epoch, runtime.rank)
    draw = generator(options.seed, state.epoch)
    order = balance.order(data["train"].host_labels, draw)
    draws = augment.draw(len(order), draw, strength=options.augment)
    batches, title = data["train"].train(order, state.batch_size, draws), f"epoch {epoch}/{options.epochs}"
    quiet = runtime.rank > 0 or not sys.stderr.isatty()
    where = f"in epoch {epoch}, which --resume repeats"
    trained = train_one_epoch(
        net,
        tqdm(batches, title, state.steps, leave=False, disable=quiet),
        state.rates(),
        state=state,
        loss=partial(
            balance.loss, label_smoothing=options.label_smoothing, progress=state.epoch / options.epochs
        ),
        check=partial(interrupt.check, where),
    )
    seconds = time.perf_counter() - clock
    runtime.broadcast(state.ema.average)
    val = evaluate(state.ema.average, data["val"])
    return {
        "epoch": epoch,
        "image_size": size,
        "train_loss": trained["loss"],
        "train_accuracy": trained["accuracy"],
        "val_loss": val["loss"],
        "val_accuracy": val["accuracy"],
        "val_macro_f1": val["macro_f1"],
        "val_balanced_accuracy": val["balanced_accuracy"],
        "lr": state.rates()[-1],
        "images_per_second": state.steps * state.batch_size / seconds,
        "seconds": time.perf_counter() - clock,
    }


def _predict(
    state: TrainState, data: dict, balance: Balance, interrupt: Interrupt
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The best weights' logits of val and test, and what was fitted on val: tau and temperature."""
    model, labels = state.ema.average, data["val"].labels.cpu()
    model.load_state_dict(state.best["weights"])
    data["val"].size = state.options.image_size
    predict = partial(
        evaluate,
        model,
        check=partial(interrupt.check, "in the last evaluation, which --resume repeats", alone=True),
    )
    logits = {"val": predict(data["val"])["logits"]}
    tau = balance.fit(logits["val"], labels)
    if tau:
        balance.adjust(model, tau)
        logits["val"] = predict(data["val"])["logits"]
    temperature = metrics.fit_temperature(logits["val"], labels)
    if "test" in data:
        logits["test"] = predict(data["test"])["logits"]
    return logits, {"post_hoc_tau": tau, "temperature": temperature}


def _write(
    state: TrainState,
    sets: dict[str, RAFDBDataset],
    logits: dict[str, Tensor],
    fitted: dict[str, float],
    folder: RunFolder,
    *,
    repeated: dict,
    seconds: float,
) -> dict:
    """Write what a finished run's folder has; returns the numbers, which stand in its metrics.json."""
    model, runtime = state.ema.average, state.runtime
    peak = peak_memory(runtime) if state.trained else None  # before the cost is measured
    cost = metrics.cost(model, state.options.image_size, runtime=runtime)
    numbers = summarize(
        state,
        sets,
        logits,
        fitted,
        run=folder.path.name,
        reason=state.end(),
        duplicates=repeated,
        cost={**cost, "wall_seconds": seconds, "peak_memory_mib": peak},
    )
    save_model(folder.path / "best_model.pth", state.state_dict(), model.state_dict(), **fitted)
    if "test" in logits:
        part, p = sets["test"], rounded(logits["test"])
        header, *rows = predictions_table(part.names, part.labels.tolist(), part.class_names, p)
        folder.write_text("predictions.csv", to_csv(header, rows))
    judged = "test" if "test" in logits else "val"
    title = f"{numbers['model']}, {numbers['run']}, {numbers['data']}"
    matrix = numbers[judged]["confusion_matrix"]
    folder.write("curves.png", partial(plots.curves, state.log, title=title))
    folder.write(
        "confusion_matrix.png",
        partial(plots.confusion, matrix, names=sets["train"].class_names, title=f"{title}: {judged}"),
    )
    folder.write_text("metrics.json", to_json(numbers))  # last: a run is finished when this file is there
    return numbers
