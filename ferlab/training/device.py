"""The device by its name, its precision, and what it can do: cpu, cuda, and mps and xpu where torch has them.

device = choose("cuda:1"); dtype = amp_dtype(device, "auto"); wait(device)
"""

import functools
import os
import sys
from collections.abc import Callable

import torch

from ferlab.errors import UserError

AVAILABLE: dict[str, Callable[[], bool]] = {
    "cuda": torch.cuda.is_available,
    "mps": torch.backends.mps.is_available,
    "xpu": torch.xpu.is_available,
}
DRIVER = "/proc/driver/nvidia/version"  # there on Linux, where an NVIDIA driver is loaded
USE = "use auto, cpu, cuda or cuda:N; mps on an Apple chip, xpu on an Intel GPU"


def choose(name: str) -> torch.device:
    """auto (CUDA, where there is a device, else the CPU) or a device. Raises UserError for what this machine
    does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu":
            _warn_of_driver()
    try:
        chosen = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name} is not a valid value; {USE}.") from None
    if chosen.type != "cpu" and chosen.type not in AVAILABLE:
        raise UserError(f"--device {name} is not supported; {USE}.")
    if chosen.type != "cpu" and not AVAILABLE[chosen.type]():
        raise UserError(
            f"--device {name}: torch {torch.__version__} sees no {chosen.type.upper()} device here; use "
            "--device cpu."
        )
    if chosen.type != "cpu" and chosen.index is not None:
        count = torch.get_device_module(chosen.type).device_count()
        if chosen.index >= count:
            raise UserError(f"--device {name}: there are {count} such devices, counted from 0.")
    return chosen


@functools.cache  # once a process
def _warn_of_driver() -> None:
    """Say where there is a GPU that torch cannot use, and that nobody has hidden."""
    if not os.path.exists(DRIVER) or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    sys.stderr.write(
        f"note: an NVIDIA driver is loaded here, but torch {torch.__version__}, {built}, sees no GPU, so "
        "this runs on the CPU. nvidia-smi shows the newest CUDA that the driver takes, pytorch.org the torch "
        "for it.\n"
    )


def amp_dtype(device: torch.device, amp: str) -> torch.dtype | None:
    """What autocast computes in, None for plain fp32; auto takes that on mps, and where bf16 is slow."""
    if amp == "auto":
        if device.type == "cuda":
            amp = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        else:
            amp = "bf16" if device.type == "xpu" or device.type == "cpu" and _cpu_has_bf16() else "off"
    if amp == "fp16" and device.type != "cuda":
        raise UserError("--amp fp16 needs a CUDA GPU; elsewhere use --amp bf16 or --amp off.")
    try:
        return {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp]
    except KeyError:
        raise UserError(f"--amp {amp} is not a valid value; use auto, bf16, fp16 or off.") from None


def gpu(device: torch.device) -> str | None:
    """The name of the GPU; None on a CPU."""
    if device.type == "mps":
        return "Apple GPU"
    return None if device.type == "cpu" else torch.get_device_module(device.type).get_device_name(device)


def wait(device: torch.device) -> None:
    """Wait until all that was given to the device is done."""
    if device.type != "cpu":
        torch.get_device_module(device.type).synchronize()


def lacks(device: torch.device, error: Exception) -> str:
    """What to say of an operation that torch does not have on this device; nothing for other errors."""
    if device.type in ("cpu", "cuda"):
        return ""
    if not isinstance(error, NotImplementedError) and device.type not in str(error).lower():
        return ""
    fallback = (
        ", or set PYTORCH_ENABLE_MPS_FALLBACK=1 to compute it on the CPU" if device.type == "mps" else ""
    )
    first = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0][:200]
    return f"torch {torch.__version__} cannot do this on {device.type} ({first}): use --device cpu{fallback}."


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 natively (AVX512-BF16 or AMX); emulated, it is slower than fp32."""
    known = getattr(torch.cpu, "get_capabilities", dict)()  # newer torch only
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
