"""SIGTERM and SIGINT end a run at its next step, after it has been saved; a second Ctrl-C ends it at once.

with Interrupt(runtime, command="python train_ResNet.py --resume") as interrupt:
    for x, y in batches:
        ...
        interrupt.check("in epoch 3, which --resume repeats")
"""

import signal
import threading

import torch

from ferlab.errors import Stopped
from ferlab.training.runtime import Runtime


class Interrupt:
    """Context manager: inside it, `number` is the signal that arrived, or 0. Outside, everything is as
    before.
    """

    number = 0

    def __init__(self, runtime: Runtime | None = None, command: str = "") -> None:
        self.runtime, self.command = runtime or Runtime(torch.device("cpu"), None), command
        self._every = 16 if self.runtime.device.type == "cuda" and self.runtime.world_size > 1 else 1
        self._checks = 0

    def __enter__(self) -> "Interrupt":
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # python handles signals there only
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self, where: str, *, now: bool = False, alone: bool = False) -> None:
        """Raise Stopped, in all processes together, if any of them got a signal. On several GPUs, where to
        agree takes a message, only every 16th call asks, or one with `now`. `alone`: only where there is one
        process, as several may call it a different number of times.
        """
        self._checks += 1
        if alone and self.runtime.world_size > 1 or not now and self._checks % self._every:
            return
        number = self.runtime.all_reduce_max(self.number)
        if number:
            self.number = number  # the same in all processes
            raise Stopped(number, where, self.command)

    def _arrived(self, number: int, _frame) -> None:
        self.number = number
        if number == signal.SIGINT:
            signal.signal(number, self._before[number])
