"""Device, precision and threads."""

from __future__ import annotations

import logging
import os
import platform
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch

from genartisan.errors import InputError

logger = logging.getLogger(__name__)

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
ISA_LIMIT = "ONEDNN_MAX_CPU_ISA"  # oneDNN's variable: the highest instruction set that it may use
BF16_PAYS = 1.5  # smallest speed-up over fp32 that is worth the lost accuracy


def find_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is the best available.

    Raises:
        InputError: this machine has no such device.
    """
    if name == "auto":
        best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(best)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device is {name!r}; give auto, cpu, cuda, cuda:N or mps.", "device") from error
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= count.get(device.type, 0):
        raise InputError(f"device is {name!r}, which this machine does not have; use auto or cpu.", "device")
    return device


def find_precision(name: str, device: torch.device, multiplies: bool = False) -> str:
    """fp32 or bf16; ``auto`` is bf16 on CUDA devices that support it and on CPUs where it is faster, else fp32.

    Args:
        multiplies: whether large matrix products dominate the work.

    Raises:
        InputError: an unknown name, or the device does not support it.
    """
    bf16_on_cuda = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "auto":
        pays = bf16_on_cuda or (device.type == "cpu" and multiplies and bf16_gain() >= BF16_PAYS)
        return "bf16" if pays else "fp32"
    if name not in PRECISIONS:
        raise InputError(f"precision is {name!r}; choose auto, {' or '.join(PRECISIONS)}.", "precision")
    if name == "bf16" and device.type == "cuda" and not bf16_on_cuda:
        raise InputError("precision is 'bf16', which this GPU does not support; use fp32.", "precision")
    return name


@cache
def bf16_gain() -> float:
    """This CPU's speed-up of matrix products in bf16 over fp32, measured within some hundredths of a second.

    CPU flags do not predict it: of two processors with AVX-512 BF16 one gains, and the other loses half.
    """
    seconds = dict.fromkeys(PRECISIONS.values(), float("inf"))
    matrices = {dtype: torch.ones(768, 768, dtype=dtype) for dtype in seconds}
    for _ in range(5):
        for dtype, matrix in matrices.items():
            began = time.perf_counter()
            matrix @ matrix
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - began)
    gain = seconds[torch.float32] / seconds[torch.bfloat16]
    logger.info("matrix products in bf16 are %.2f times as fast as in fp32", gain)
    return gain


def hardware(device: torch.device) -> dict[str, Any]:
    """Processor, PyTorch's threads, device and versions."""
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


@cache
def processor() -> str:
    """The CPU's name, and the instruction sets of PyTorch's kernels and of oneDNN's in bf16: AMX, or a limit."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    sets = [torch.backends.cpu.get_cpu_capability()]
    if limit := os.environ.get(ISA_LIMIT):
        sets.append(f"{ISA_LIMIT}={limit}")
    elif any("amx_bf16" in line.split() for line in lines if line.startswith("flags")):
        sets.append("AMX")
    return ", ".join((name, *sets))


def lower_priority(niceness: int) -> None:
    """Lowers the priority of this thread and of those it starts from now on.

    Raises:
        ValueError: ``niceness`` is not an integer from 0 to 19.
    """
    if type(niceness) is not int or not 0 <= niceness <= 19:
        raise ValueError(f"nice is {niceness!r}; give a number from 0 to 19")
    os.nice(niceness)


def set_threads(wanted: int | str, workers: int) -> None:
    """Sets PyTorch's number of threads; ``auto`` divides the cores among the workers unless OMP_NUM_THREADS is set.

    Raises:
        ValueError: ``wanted`` is neither ``auto`` nor a positive integer.
    """
    if wanted != "auto":
        if type(wanted) is not int or wanted < 1:
            raise ValueError(f"threads is {wanted!r}; give auto or a number of at least 1")
        torch.set_num_threads(wanted)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))
