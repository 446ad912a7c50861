"""What torch computes on: the device that a command names, checked before any work, and the number of threads."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from cuda_ext.library import NO_CUDA
from render.errors import ConfigError


def usable_device(name: str) -> str:
    """`name`, such as "cpu" or "cuda"; raises `ConfigError` where torch knows no such device or finds no GPU."""
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: give cpu or cuda") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: torch finds no GPU here (see `adapt doctor`); leave out --device")
    if kind == "cuda" and NO_CUDA:
        raise ConfigError(f"--device {name}: {NO_CUDA}; or leave out --device")
    return name


def arithmetic(device: str) -> dict[str, Any]:
    """What decides how torch rounds: `device`, number of `threads`, and the kind of `cpu` with its vectors."""
    return {
        "device": device,
        "threads": torch.get_num_threads(),
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread; a context, or a function's decorator.

    For work of many small matrices: several threads mostly wait for each other, and how many there are decides in what
    order sums are taken, so that the last bits of a float64 solve would differ from machine to machine. The number of
    threads is the process's: what begins meanwhile on another Python thread gets one as well.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
