"""The one training loop: every train_*.py builds a model and calls train(model, options).

python train_ResNet.py                                   # CPU or one GPU
torchrun --nproc_per_node=4 train_ResNet.py              # 4 GPUs; --batch-size counts all of them
torchrun --nnodes=2 --nproc_per_node=8 --rdzv_backend=c10d --rdzv_endpoint=HOST:29500 train_ResNet.py
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

import models
from ferlab import cli
from ferlab.analysis import metrics
from ferlab.data import twins
from ferlab.errors import UserError
from ferlab.options import Options
from ferlab.training import augment, runtime
from ferlab.training.batches import Batches
from ferlab.training.checkpoint import CheckpointWriter, read
from ferlab.training.ema import EMA
from ferlab.training.imbalance import Balance
from ferlab.training.interrupt import Interrupt
from ferlab.training.optim import Schedule, make_optimizer
from ferlab.training.report import Run
from ferlab.training.resizing import size_at
from ferlab.training.run_folder import checkpoint, refuse, same_experiment
from RAFDB_dataset import RAFDBDataset, describe, open_source


def parse(name: str, recipes: dict[str, dict], argv: list[str] | None = None) -> Options:
    """Options for the model `name` from the command line. `recipes` maps "imagenet" and "none" to a recipe
    each; --weights picks one, the first is the default. With --resume, options come back from the checkpoint.
    """
    given = cli.typed(Options, sys.argv[1:] if argv is None else argv, description=f"Train {name} on RAF-DB.")
    weights = given.get("weights", next(iter(recipes)))
    if weights == "imagenet" and "imagenet" not in recipes:
        raise UserError(f"{name} has no ImageNet weights; train it with --weights none.")
    recipe = recipes.get(weights, recipes[next(iter(recipes))])
    options = replace(Options(weights=weights, **recipe), **given)
    options.image_size = options.image_size or models.ARCHITECTURES[name].image_size
    if "start_size" not in given and options.start_size > options.image_size:
        options.start_size = 0  # the recipe's is for the recipe's own image size
    given = {key: getattr(options, key) for key in given}
    cli.check(options)
    if options.resume:
        stored = cli.restored(Options, read(checkpoint(name, options)).get("options"))
        options = replace(stored, **{"overwrite": False, "finish": False, **given})
        same_experiment(stored, options)
    if argv is None:  # the script's own: before a model is built, or its weights are downloaded
        refuse(name, options)
    return options


def train_one_epoch(
    model: nn.Module,
    batches,
    *,
    optimizer: torch.optim.Optimizer,
    setup: runtime.Setup,
    loss: Callable[[Tensor, Tensor], Tensor],
    rate: Callable[[int], float],
    ema: EMA,
    grad_clip: float = 0.0,
    stop: Callable[[int], bool] = lambda steps: False,
) -> dict:
    """One pass over `batches` of (x, y) on the device; nothing in a step waits for it.

    `rate(i)` is the learning rate of step i, `stop(n)` is asked after n steps. Returns loss and accuracy over
    all processes, and whether it was stopped.
    """
    model.train()
    sums, steps, stopped = torch.zeros(2, device=setup.device), 0, False
    for x, y in batches:
        for group in optimizer.param_groups:
            group["lr"] = rate(steps)
        with setup.autocast():
            logits = model(x)
        logits = logits.float()
        value = loss(logits, y)
        setup.scaler.scale(value).backward()
        setup.scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), grad_clip or math.inf)
        setup.scaler.step(optimizer)
        setup.scaler.update()
        optimizer.zero_grad(set_to_none=True)
        ema.update()
        sums += torch.stack([value.detach(), (logits.detach().argmax(1) == y).float().mean()])
        steps += 1
        if stopped := stop(steps):
            break
    mean = (setup.all_reduce(sums) / (max(1, steps) * setup.world_size)).tolist()
    return {"loss": mean[0], "accuracy": mean[1], "stopped": stopped}


@torch.inference_mode()
def evaluate(model: nn.Module, batches: Batches, *, batch_size: int = 256) -> dict:
    """Loss, accuracy, balanced accuracy, macro-F1 and all logits (N, C) on the host, exact for any number of
    processes.
    """
    setup = batches.setup
    model.eval()
    outputs = []
    for x in batches.evaluate(batch_size):
        with setup.autocast():
            outputs.append(model(x).float())
    logits = torch.zeros(
        len(batches), outputs[0].shape[1] if outputs else len(metrics.CLASS_NAMES), device=setup.device
    )
    if outputs:
        logits[setup.rank :: setup.world_size] = torch.cat(outputs)
    logits = setup.all_reduce(logits).cpu()  # each process filled its own rows, the others are zero
    labels = batches.labels.cpu()
    numbers = metrics.from_confusion(metrics.confusion_matrix(logits.argmax(1), labels))
    scores = {key: float(numbers[key]) for key in ("accuracy", "balanced_accuracy", "macro_f1")}
    return {"loss": float(F.cross_entropy(logits, labels)), **scores, "logits": logits}


def train(model: nn.Module, options: Options) -> dict:
    """Train `model` (from models.build) as `options` say, write results/<Model>/<run>/, return its final
    numbers.

    Checkpoints are chosen by macro-F1 on val; the test set is evaluated once, at the end. Raises UserError
    for what the user can mend; its exit codes: 2 wrong input, 3 numbers gone bad, 4 cannot write, 130 and 143
    stopped.
    """
    cli.check(options)
    if options.image_size not in (0, model.built["image_size"]):
        raise UserError(f"the model takes {model.built['image_size']} pixels, not {options.image_size}.")
    options = replace(options, image_size=model.built["image_size"])
    _check_for(model, options)
    setup = runtime.setup(options.device, options.amp, seed=options.seed, deterministic=options.deterministic)
    try:
        with Interrupt() as interrupt, Run(model, options, setup) as run:
            numbers = _train(model, options, setup, interrupt, run)
    except (MemoryError, RuntimeError, ValueError) as error:
        words = runtime.in_words(error, setup, batch_size=options.batch_size, image_size=options.image_size)
        if not words:
            raise
        raise UserError(words) from None
    runtime.leave(setup)  # not after an error: to leave takes time, in which torchrun may silence its message
    return numbers


def _train(model: nn.Module, options: Options, setup: runtime.Setup, interrupt: Interrupt, run: Run) -> dict:
    begun = time.perf_counter()
    sets = _load(options, setup)
    train_set, val_set, test_set = sets["train"], sets["val"], sets.get("test")
    if options.batch_size % setup.world_size:
        raise UserError(
            f"--batch-size {options.batch_size} cannot be shared by {setup.world_size} "
            "processes; make it a multiple of them."
        )
    batch_size = min(options.batch_size, len(train_set) // setup.world_size * setup.world_size)
    steps = len(train_set) // batch_size  # what does not fill a last batch is left out, others every epoch
    with setup.main_process_first():
        same = twins.pairs(*sets.values())
        twins.refuse(same)
        run.begin(sets, describe(*sets.values(), same=same), same)

    convolutional = models.ARCHITECTURES[model.built["name"]].convolutional
    layout = torch.channels_last if convolutional else torch.contiguous_format
    model = model.to(setup.device, memory_format=layout)

    def batches(part: RAFDBDataset) -> Batches:
        return Batches(
            part.images,
            part.labels,
            options.image_size,
            setup,
            channels_last=convolutional,
            resolution=options.resolution,
        )

    train_data, val_data = batches(train_set), batches(val_set)
    balance = Balance(options.balance, train_set.counts, device=setup.device)
    optimizer = make_optimizer(model, lr=options.lr, weight_decay=options.weight_decay)
    schedule = Schedule(options.lr, warmup=options.warmup_epochs * steps, total=options.epochs * steps)
    ema = EMA(model, options.ema)
    state = {
        "epoch": 0,
        "best": {"epoch": 0, "macro_f1": -1.0, "weights": {}},
        "log": [],
        "seconds": 0.0,
        "model": model.built,
        "options": asdict(options),
        "data": train_set.kind,
        "split_hash": val_set.hash,
        "train_hash": train_set.hash,
        "test_hash": test_set.hash if test_set else "",
    }
    if options.resume:
        state = run.restore(state, model=model, optimizer=optimizer, ema=ema)
    earlier = state["seconds"]
    sizes = {"epochs": options.epochs, "start": options.start_size, "full": options.image_size}
    train_data.size = state["log"][-1]["image_size"] if state["log"] else size_at(0, **sizes)
    net = setup.parallel(model)
    net = torch.compile(net, dynamic=False) if options.compile else net  # once for each size
    writer = CheckpointWriter(run.folder, enabled=setup.rank == 0)
    writer.keep(_snapshot(state, model, optimizer, setup, ema))  # finds out now whether it can be written

    ask_every = 16 if setup.device.type == "cuda" and setup.world_size > 1 else 1  # to agree takes a message
    reason = "all epochs done"
    for epoch in range(state["epoch"], options.epochs):
        if options.patience and 0 < state["best"]["epoch"] <= epoch - options.patience:
            reason = f"val macro-F1 no better for {options.patience} epochs"
            break
        if options.finish:
            reason = f"closed early, after {epoch} of {options.epochs} epochs (--finish)"
            break
        clock = time.perf_counter()
        size = max(train_data.size, size_at(epoch, **sizes))  # with more --epochs it would fall again
        if size != train_data.size:  # what the average holds was learnt at another size: it begins anew
            ema.steps = 0
        train_data.size = val_data.size = size
        runtime.seed_everything(options.seed, epoch, setup.rank)
        generator = runtime.generator(options.seed, epoch)
        order = balance.order(train_set.labels, generator)
        draws = augment.draw(len(order), generator, strength=options.augment)
        data = tqdm(
            train_data.train(order, batch_size, draws),
            f"epoch {epoch + 1}/{options.epochs}",
            steps,
            leave=False,
            disable=setup.rank > 0 or not sys.stderr.isatty(),
        )
        trained = train_one_epoch(
            net,
            data,
            optimizer=optimizer,
            setup=setup,
            ema=ema,
            grad_clip=options.grad_clip,
            loss=lambda z, y: balance.loss(
                z, y, label_smoothing=options.label_smoothing, progress=epoch / options.epochs
            ),
            rate=lambda step: schedule(epoch * steps + step),
            stop=lambda step: step % ask_every == 0 and interrupt.asked(setup),
        )
        if trained["stopped"]:
            writer.flush()
            raise run.stopped(interrupt.number, f"in epoch {epoch + 1}, which --resume repeats")
        training_seconds = time.perf_counter() - clock
        setup.broadcast(ema.average)
        val = evaluate(ema.average, val_data)
        if not (math.isfinite(trained["loss"]) and math.isfinite(val["loss"])):
            writer.flush()
            raise run.diverged(state, epoch + 1)
        better = size == options.image_size and val["macro_f1"] > state["best"]["macro_f1"]
        if better:
            weights = {key: value.detach().clone() for key, value in ema.average.state_dict().items()}
            state["best"] = {"epoch": epoch + 1, "macro_f1": val["macro_f1"], "weights": weights}
        now = time.perf_counter()
        row = run.row(
            epoch + 1,
            trained,
            val,
            size=size,
            lr=schedule((epoch + 1) * steps - 1),
            images_per_second=steps * batch_size / training_seconds,
            seconds=now - clock,
        )
        state |= {"epoch": epoch + 1, "log": [*state["log"], row], "seconds": earlier + now - begun}
        run.log(state["log"], better=better)
        writer.keep(_snapshot(state, model, optimizer, setup, ema))
        if interrupt.asked(setup):
            writer.flush()
            raise run.stopped(interrupt.number, f"after epoch {epoch + 1}")
    writer.flush()

    ema.average.load_state_dict(state["best"]["weights"])
    val = evaluate(ema.average, val_data)
    tau = balance.fit(val["logits"], val_set.labels)
    if tau:
        balance.adjust(ema.average, tau)
        val = evaluate(ema.average, val_data)
    test = evaluate(ema.average, batches(test_set))["logits"] if test_set else None
    return run.finish(
        ema.average,
        state,
        val=val["logits"],
        test=test,
        reason=reason,
        tau=tau,
        seconds=earlier + time.perf_counter() - begun,
    )


def _check_for(model: nn.Module, options: Options) -> None:
    """Hand the model what concerns its training only. Raises UserError for what it cannot do."""
    name, full = model.built["name"], model.built["image_size"]
    if options.start_size and not models.ARCHITECTURES[name].any_size:
        raise UserError(
            f"--start-size is for networks that take pictures of any size; {name}'s weights fit "
            f"{full} pixels only."
        )
    if options.start_size and not 32 <= options.start_size <= full:
        raise UserError(
            f"--start-size is {options.start_size}; it must be 32 to {full}, the --image-size, or 0 for none."
        )
    if hasattr(model, "patch_keep"):
        model.patch_keep = options.patch_keep
    elif options.patch_keep < 1:
        raise UserError(f"--patch-keep is for vision transformers; {name} has no patches.")


def _load(options: Options, setup: runtime.Setup) -> dict[str, RAFDBDataset]:
    with setup.main_process_first():  # one process decodes and caches, the others read what it wrote
        source = open_source(options.data)
        share = {"val_fraction": options.val_fraction, "skip_bad": options.skip_bad}
        sets = {
            "train": RAFDBDataset(source, "train", train_fraction=options.train_fraction, **share),
            "val": RAFDBDataset(source, "val", **share),
        }
        return sets | ({"test": RAFDBDataset(source, "test")} if options.test else {})


def _snapshot(state: dict, model: nn.Module, optimizer, setup: runtime.Setup, ema: EMA) -> dict:
    """Everything that is needed to go on, as references: CheckpointWriter writes or copies it."""
    average = ema.average.state_dict() if ema.decay else {}
    return {
        **state,
        "weights": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": setup.scaler.state_dict(),
        "ema": average,
        "ema_steps": ema.steps,
    }
