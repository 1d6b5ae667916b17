"""Batches from memory: uint8 images that live on the training device, indexed, varied and normalised there.

Images that would take more than a share of the device's free memory stay on the host instead and cross one
batch ahead, through pinned memory; the batches are the same to the last bit.
"""

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ferlab.training import augment
from ferlab.training.runtime import Runtime

SHARE = 0.4  # of the device's free memory that images may take


class Batches:
    """Images uint8 (N, 3, H, W), labels (N,) ready for `runtime.device`; all floats are (B, 3, size, size).

    `resolution` above 0 first reduces the images to that many pixels a side, once, as a smaller face would
    look.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        size: int,
        runtime: Runtime,
        *,
        channels_last: bool = False,
        resolution: int = 0,
        share: float = SHARE,
    ) -> None:
        self.size, self.runtime, self.labels = size, runtime, labels.to(runtime.device)
        self.host_labels = labels
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        if resolution:
            images = degrade(images, resolution)
        self.resident = runtime.device.type != "cuda" or images.nbytes <= share * torch.cuda.mem_get_info()[0]
        self.images = images.to(runtime.device) if self.resident else images
        self._copying = None if self.resident else torch.cuda.Stream()

    def __len__(self) -> int:
        return len(self.labels)

    def train(self, order: Tensor, batch_size: int, draws: augment.Draws) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch: batches of the images `order` (host indices), image order[i] varied by draws[i].

        batch_size counts all processes; each takes its own equal part of every batch. What does not fill a
        last batch is left out (other images in every epoch), so that all batches have one shape.
        """
        runtime, mine = self.runtime, batch_size // self.runtime.world_size
        steps = len(order) // batch_size
        part = torch.arange(steps * batch_size).view(steps, batch_size)[
            :, runtime.rank * mine : (runtime.rank + 1) * mine
        ]
        draws = draws.take(part.flatten()).to(runtime.device)
        order = order[part.flatten()]
        for i, (images, labels) in enumerate(self._fetch(order, mine)):
            yield self._ready(images, draws.take(slice(i * mine, (i + 1) * mine))), labels

    def evaluate(self, batch_size: int) -> Iterator[Tensor]:
        """This process's images in order, every world_size-th one, unvaried."""
        mine = torch.arange(self.runtime.rank, len(self), self.runtime.world_size)
        for images, _ in self._fetch(mine, batch_size):
            yield self._ready(images, None)

    def _ready(self, images: Tensor, draws: augment.Draws | None) -> Tensor:
        return augment.apply(images, self.size, draws).contiguous(memory_format=self.format)

    def _fetch(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        on_device = order.to(self.runtime.device)
        parts = zip(order.split(batch_size), on_device.split(batch_size))
        if self.resident:
            for _, index in parts:
                yield self.images[index], self.labels[index]
            return
        ahead = None
        for host_index, index in parts:
            host = self.images[host_index].pin_memory()
            with torch.cuda.stream(self._copying):
                images = host.to(self.runtime.device, non_blocking=True)
            if ahead is not None:
                yield self._arrived(*ahead)
            ahead = images, index
        if ahead is not None:
            yield self._arrived(*ahead)

    def _arrived(self, images: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        now = torch.cuda.current_stream()
        now.wait_stream(cast(torch.cuda.Stream, self._copying))
        images.record_stream(now)
        return images, self.labels[index]


def degrade(images: Tensor, resolution: int) -> Tensor:
    """uint8 (N, 3, H, W) -> uint8 (N, 3, resolution, resolution), antialiased; smaller sides are left as they
    are.
    """
    if resolution >= images.shape[-1]:
        return images
    return torch.cat([reduced(part, resolution) for part in images.split(1024)])


def reduced(images: Tensor, resolution: int) -> Tensor:
    """`degrade` of one batch, which holds it as float meanwhile."""
    small = F.interpolate(images.float(), (resolution, resolution), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).byte()
