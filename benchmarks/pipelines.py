"""The training pipelines that speed.py compares: each trains some steps and says how long that took.

python benchmarks/speed.py
"""

import functools
import runpy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

import models
import train_function
from ferlab.training import augment
from ferlab.training.batches import Batches
from ferlab.training.imbalance import Balance
from ferlab.training.optim import make_optimizer
from ferlab.training.runtime import Runtime, generator
from ferlab.training.state import TrainState
from RAFDB_dataset import RAFDBDataset

ROOT = Path(__file__).resolve().parents[1]
LR = 1e-5  # nothing may diverge in the time it takes; the clock does not care

Pipeline = Callable[[int], float]  # trains that many steps, returns the seconds they took


@dataclass
class Case:
    """One model with its recipe, on one device, with the training images."""

    name: str
    recipe: train_function.Options
    runtime: Runtime
    train: RAFDBDataset
    compile: bool = False

    @property
    def batch(self) -> int:
        return (
            min(self.recipe.batch_size, len(self.train) // self.runtime.world_size) * self.runtime.world_size
        )

    def model(self) -> nn.Module:
        return models.build(self.name, image_size=self.recipe.image_size)

    def placed(self) -> nn.Module:
        format = torch.channels_last if self.convolutional else torch.contiguous_format
        return self.model().to(self.runtime.device, memory_format=format)

    def batches(self, part: RAFDBDataset) -> Batches:
        return Batches(
            part.images, part.labels, self.recipe.image_size, self.runtime, channels_last=self.convolutional
        )

    @property
    def convolutional(self) -> bool:
        return models.ARCHITECTURES[self.name].convolutional


def recipe(name: str, *, image_size: int = 0, batch_size: int = 0) -> train_function.Options:
    """The from-scratch recipe of the model's own script; a size above 0 takes the place of its own."""
    found = train_function.Options(**runpy.run_path(str(script(name)))["RECIPES"]["none"])
    found.image_size = image_size or found.image_size or models.ARCHITECTURES[name].image_size
    found.batch_size = batch_size or found.batch_size
    return found


def script(name: str) -> Path:
    """The model's train script."""
    return ROOT / models.ARCHITECTURES[name].script


def upper_bound(case: Case) -> Pipeline:
    """The bare step on one batch that stays on the device."""
    runtime, model = case.runtime, case.placed().train()
    optimizer = make_optimizer(model, lr=LR, weight_decay=case.recipe.weight_decay)
    net = torch.compile(model) if case.compile else model
    draws = augment.draw(case.batch, generator(0))
    x, y = next(case.batches(case.train).train(torch.arange(case.batch), case.batch, draws))

    def step() -> None:
        with runtime.autocast():
            logits = net(x)
        runtime.scaler.scale(F.cross_entropy(logits.float(), y)).backward()
        runtime.scaler.step(optimizer)
        runtime.scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return lambda steps: timed(runtime, lambda: [step() for _ in range(steps)])


def ours(case: Case) -> Pipeline:
    """Epochs, or the beginning of one, as train() has them; evaluation and checkpoints are apart."""
    recipe, runtime, data = case.recipe, case.runtime, case.train
    model = case.placed()
    net = runtime.parallel(model)
    net = torch.compile(net) if case.compile else net
    state = TrainState(
        model, replace(recipe, lr=LR, batch_size=case.batch), runtime, {"train": data, "val": data}
    )
    balance, batches = Balance(recipe.balance, data.counts, device=runtime.device), case.batches(data)
    whole = len(data) // case.batch

    def epoch(steps: int) -> None:
        draw = generator(0, steps)
        order = balance.order(data.labels, draw)[: steps * case.batch]
        draws = augment.draw(len(order), draw, strength=recipe.augment)
        train_function.train_one_epoch(
            net,
            batches.train(order, case.batch, draws),
            [LR] * steps,
            state=state,
            loss=functools.partial(balance.loss, label_smoothing=recipe.label_smoothing),
        )

    def run(steps: int) -> float:
        parts = [whole] * (steps // whole) + ([steps % whole] if steps % whole else [])
        return timed(runtime, lambda: [epoch(part) for part in parts])

    return run


class Pictures(Dataset):
    """PIL images in a list, varied one at a time: how such training scripts usually read RAF-DB."""

    def __init__(self, data: RAFDBDataset, size: int) -> None:
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in data.images]
        self.labels = data.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomRotation(10),
                transforms.ColorJitter(0.2, 0.2, 0.2),
                transforms.Resize((size, size)),
                transforms.ToTensor(),
                transforms.Normalize(augment.MEAN, augment.STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def dataloader(case: Case) -> Callable[[int], Pipeline]:
    """Maps a number of workers to the DataLoader with that many; both train one model."""
    place, data = case.runtime.device, Pictures(case.train, case.recipe.image_size)
    model, criterion = case.model().to(place).train(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    total = {"loss": 0.0, "right": 0}

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        images, labels = images.to(place), labels.to(place)
        optimizer.zero_grad()
        output = model(images)
        loss = criterion(output, labels)
        loss.backward()
        optimizer.step()
        total["loss"] += loss.item()
        total["right"] += (output.argmax(1) == labels).sum().item()

    def run(steps: int, workers: int) -> float:
        endless = RandomSampler(data, replacement=True, num_samples=2**40)
        feed = iter(
            DataLoader(
                data, case.batch, sampler=endless, num_workers=workers, pin_memory=place.type == "cuda"
            )
        )
        for _ in range(workers):  # until all have started and the queue is as full as it stays
            step(*next(feed))
        return timed(case.runtime, lambda: [step(*next(feed)) for _ in range(steps)])

    return lambda workers: functools.partial(run, workers=workers)


def timed(runtime: Runtime, work: Callable[[], object]) -> float:
    """Seconds that `work` takes, with all that it leaves the device to do."""
    runtime.synchronize()
    begun = time.perf_counter()
    work()
    runtime.synchronize()
    return time.perf_counter() - begun
