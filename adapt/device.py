"""The device that a command is told to run its network on, checked before any work."""

import torch

from render.errors import ConfigError


def usable_device(name: str) -> str:
    """`name`, such as "cpu" or "cuda"; raises `ConfigError` where torch knows no such device or finds no GPU."""
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: give cpu or cuda") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: torch finds no GPU here (see `adapt doctor`); leave out --device")
    return name
