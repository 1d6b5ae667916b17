"""Device, precision and process group: chosen once, so that nothing below asks again.

runtime = init_runtime("auto", "auto")

One process by itself; with torchrun (`torchrun --nproc_per_node=4 train_ResNet.py`) as many as it starts.
"""

import contextlib
import ctypes
import datetime
import os
import platform
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torchvision
from torch import nn

from ferlab.errors import UserError
from ferlab.training.device import amp_dtype, choose, gpu, lacks, wait


@dataclass
class Runtime:
    """Where and how this process computes."""

    device: torch.device
    amp_dtype: torch.dtype | None  # None: plain fp32
    rank: int = 0
    world_size: int = 1
    control: Any = None  # gloo group for flags, so that agreeing never waits for the GPU's queue
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp_dtype == torch.float16)

    def autocast(self) -> torch.autocast:
        """The context in which the network runs; does nothing in fp32."""
        return torch.autocast(self.device.type, self.amp_dtype, enabled=self.amp_dtype is not None)

    @property
    def precision(self) -> str:
        """fp32, bf16 or fp16."""
        return {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.amp_dtype]

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over the processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def all_reduce_max(self, number: int) -> int:
        """The largest that any process says; every process gets the same answer."""
        if self.world_size == 1:
            return number
        votes = torch.tensor([number])
        dist.all_reduce(votes, op=dist.ReduceOp.MAX, group=self.control)
        return int(votes)

    @contextlib.contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Process 0 does what is inside before the others do; where it fails, they end too."""
        if self.rank > 0 and self.all_reduce_max(0):
            raise UserError("process 0 failed; see its message.")
        failed = 1
        try:
            yield
            failed = 0
        finally:
            if self.rank == 0:
                self.all_reduce_max(failed)

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over the processes; itself if there is one."""
        if self.world_size == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, devices, gradient_as_bucket_view=True)

    def broadcast(self, model: nn.Module) -> None:
        """Give every process the weights and buffers of process 0 (batch norm's differ from one to the
        next).
        """
        if self.world_size > 1:
            for value in model.state_dict().values():
                dist.broadcast(value, 0)

    def synchronize(self) -> None:
        """Wait for the device; only for clocks."""
        wait(self.device)

    @contextlib.contextmanager
    def errors_in_words(self, *, batch_size: int, image_size: int) -> Iterator[None]:
        """What torch says of batches that are too large or too small becomes a UserError."""
        try:
            yield
        except (MemoryError, RuntimeError, TypeError, ValueError) as error:
            if words := self._in_words(error, batch_size, image_size):
                raise UserError(words) from None
            raise

    def _in_words(self, error: Exception, batch_size: int, image_size: int) -> str:
        full = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in full):
            return (
                f"the {self.device.type} memory is too small for batches of {batch_size} at {image_size} "
                f"pixels in {self.precision}: try a smaller --batch-size or --image-size"
                f"{', or --amp bf16' if self.precision == 'fp32' else ''}."
            )
        if "Expected more than 1 value per channel" in str(error):
            return (
                f"--batch-size {batch_size} leaves batch norm one value of each channel at {image_size} "
                "pixels; it needs two or more images in every process."
            )
        if type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
            first = str(error).strip().splitlines()[0][:200]
            return f"--compile does not work here ({first}); leave it out."
        if self.world_size > 1 and any(sign in str(error) for sign in ("by peer", "remote process exited")):
            return "another process failed; see its message."
        return lacks(self.device, error)

    def shutdown(self) -> None:
        """Leave torchrun's group, if this process is in one."""
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def describe(self) -> str:
        """Device, precision and processes in a few words."""
        name = gpu(self.device) or f"CPU, {torch.get_num_threads()} threads"
        return f"{name}, {self.precision}" + (f", {self.world_size} processes" if self.world_size > 1 else "")

    def environment(self) -> dict:
        """Hardware and versions, for metrics.json and the benchmarks' files."""
        known = getattr(torch.cpu, "get_capabilities", dict)()
        return {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "numpy": np.__version__,
            "system": platform.system(),
            "cpu": known.get("cpu_name") or platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": gpu(self.device),
            "cuda": torch.version.cuda if self.device.type == "cuda" else None,
            "device": self.device.type,
            "precision": self.precision,
            "processes": self.world_size,
        }


def init_runtime(device: str = "auto", amp: str = "auto", *, deterministic: bool = False) -> Runtime:
    """Choose device and precision, join torchrun's group if there is one.

    device: auto, cpu, cuda, cuda:N, mps or xpu. amp: auto (bf16 where the chip computes it natively, else
    fp16 on CUDA and fp32 elsewhere), bf16, fp16 or off. Raises UserError for what this machine lacks.
    """
    chosen = choose(device)
    rank, world_size = torchrun_ranks()
    if world_size > 1 and chosen.type not in ("cpu", "cuda"):
        raise UserError(f"--device {device} takes one process; start the script without torchrun.")
    _keep_memory()
    if chosen.type == "cuda":
        if world_size > 1:
            chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            if chosen.index >= torch.cuda.device_count():
                raise UserError(
                    f"there are {torch.cuda.device_count()} GPUs here; give torchrun no more "
                    "processes than that, or --device cpu."
                )
        elif chosen.index is None:  # set_device takes none without a number
            chosen = torch.device("cuda", torch.cuda.current_device())
        torch.cuda.set_device(chosen)
    elif world_size > 1:
        torch.set_num_threads(
            max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", world_size)))
        )
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if chosen.type == "cuda":  # attention by plain products: the backward pass of the fused kernels varies
        torch.backends.cuda.enable_flash_sdp(not deterministic)
        torch.backends.cuda.enable_mem_efficient_sdp(not deterministic)
        torch.backends.cuda.enable_cudnn_sdp(not deterministic)
    torch.set_float32_matmul_precision("high")  # TF32 for what stays fp32
    torch.backends.cudnn.allow_tf32 = True
    runtime = Runtime(chosen, amp_dtype(chosen, amp), rank, world_size)
    if world_size > 1 and not dist.is_initialized():
        dist.init_process_group(
            "nccl" if chosen.type == "cuda" else "gloo", timeout=datetime.timedelta(minutes=10)
        )
    if world_size > 1:
        runtime.control = dist.new_group(backend="gloo")
    return runtime


def torchrun_ranks() -> tuple[int, int]:
    """This process's number and how many there are, from torchrun's environment; 0 of 1 without it. Raises
    UserError where that is only half there: to join a group that nobody else joins would wait for ever.
    """
    numbers = {}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"):
        text = os.environ.get(name)
        if text is not None and not (text.isascii() and text.isdigit()):
            raise UserError(
                f"the environment has {name}={text[:40]!r}, which is not a number; type unset "
                f"{name}, or start with torchrun, which sets it."
            )
        numbers[name] = None if text is None else int(text)
    rank, world_size = numbers["RANK"] or 0, 1 if numbers["WORLD_SIZE"] is None else numbers["WORLD_SIZE"]
    needed = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if world_size > 1 else ()
    missing = [name for name in needed if not os.environ.get(name)]
    if missing or rank >= world_size:
        fault = f"without {', '.join(missing)}" if missing else f"with RANK={rank}"
        raise UserError(
            f"the environment has WORLD_SIZE={world_size} {fault}, which no launcher does; type unset "
            "RANK WORLD_SIZE for one process, or start several with torchrun --nproc_per_node=N."
        )
    return rank, world_size


def _keep_memory() -> None:
    """Have the C library keep freed memory for the next step.

    As glibc comes, every large tensor of every step is fresh memory, which the system first fills with zeros:
    on two cores ConvNet's step then takes 1.7 times as long (benchmarks/NOTES.md).
    """
    with contextlib.suppress(OSError, AttributeError):  # not Linux, or another C library
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: no allocation by mmap
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: nothing goes back


def seed_everything(*numbers: int) -> None:
    """Seed python, numpy and torch (all devices) from some small numbers, such as (seed, epoch, rank)."""
    seed = _seed(numbers)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def generator(*numbers: int) -> torch.Generator:
    """A CPU generator seeded from some small numbers."""
    return torch.Generator().manual_seed(_seed(numbers))


def _seed(numbers: tuple[int, ...]) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
