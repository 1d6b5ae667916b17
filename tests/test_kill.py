"""SIGKILL at random moments of a tight save loop: always a whole checkpoint. And signals as a flag (10 s).

KILLS=1000 python -m pytest tests/test_kill.py            # more than the usual 40
"""

import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from ferlab.data.rafdb import CLASS_NAMES
from ferlab.files import remove_temporaries
from ferlab.training.checkpoint import read, save
from ferlab.training.interrupt import Interrupt
from ferlab.training.runtime import Runtime

KILLS = int(os.environ.get("KILLS", 40))
ALONE = Runtime(torch.device("cpu"), None)
ABOUT = {"model": {"name": "ConvNet", "num_classes": 7, "image_size": 100}, "class_names": list(CLASS_NAMES)}


def save_for_ever(path: Path, epoch: int) -> None:
    while True:
        epoch += 1
        save(path, {**ABOUT, "weights": {"a": torch.full((1 << 18,), epoch)}, "epoch": epoch})


def test_a_checkpoint_survives_sigkill_at_any_moment(tmp_path):
    path, draw, half_written = tmp_path / "last.pth", random.Random(0), 0
    save(path, {**ABOUT, "weights": {}, "epoch": 0})
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ferlab.training.checkpoint", "pytest"])
    epoch = 0
    for _ in range(KILLS):
        process = context.Process(target=save_for_ever, args=(path, epoch), daemon=True)
        before = path.stat().st_mtime_ns
        process.start()
        while path.stat().st_mtime_ns == before and process.is_alive():
            time.sleep(0.001)  # until it has saved for the first time
        time.sleep(draw.uniform(0, 0.03))
        process.kill()
        process.join()
        state = read(path)  # checks the sha256 of all that is inside
        assert state["epoch"] > epoch and (state["weights"]["a"] == state["epoch"]).all()
        epoch = state["epoch"]
        half_written += any(tmp_path.glob(".*.tmp"))
        remove_temporaries(tmp_path)
        assert list(tmp_path.iterdir()) == [path]
    print(f"{KILLS} of {KILLS} kills survived, {half_written} of them in the middle of a write")
    assert half_written > KILLS / 10  # else the kills came at moments that test nothing


def test_signals_become_a_flag_and_the_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Interrupt(ALONE, command="python train_x.py --resume") as interrupt:
        assert interrupt.number == 0
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.number == signal.SIGTERM
        signal.raise_signal(signal.SIGTERM)  # schedulers send it more than once
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    with Interrupt(ALONE, command="python train_x.py --resume") as again:
        assert again.number == 0


def test_a_second_ctrl_c_ends_at_once():
    with Interrupt(ALONE, command="python train_x.py --resume") as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_come_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError), Interrupt(ALONE, command="python train_x.py --resume"):
        raise ValueError
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_there_is_no_flag_but_it_works():
    """Python handles signals in the main thread only; training from a notebook's thread must still do."""
    numbers = []

    def run():
        with Interrupt(ALONE, command="python train_x.py --resume") as interrupt:
            numbers.append(interrupt.number)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert numbers == [0]
