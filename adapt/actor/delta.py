"""The small delta of the renderer that a fit learns: low-rank for matrices and convolutions, full for vectors.

A delta is a dictionary of tensors. For a parameter `name` with two or more dimensions it holds `name.left` [out, rank]
and `name.right` [rank, rest]; their product, shaped like the parameter, is added to it (Hu et al. 2021, "LoRA"). For
a vector it holds `name` itself, added in full. What reads coarse features keeps the prior's.
"""

from collections.abc import Mapping

import torch
from torch import nn

#: Of the low-rank delta. Every weight in full was tried on one person: held-out frames are drawn worse.
RANK = 8
#: Parts of the renderer that no delta changes: the coarser half that reads, apart from its norms. Learning them, too,
#: costs a third more a step and draws nothing better.
UNCHANGED = ("unet.encode.", "unet.down.", "unet.bottom.")


def new_delta(network: nn.Module, seed: int, rank: int = RANK) -> dict[str, torch.Tensor]:
    """A delta that changes nothing yet: left factors are zero, right ones random."""
    generator = torch.Generator().manual_seed(seed)
    delta = {}
    for name, parameter in network.named_parameters():
        if name.startswith(UNCHANGED):
            continue
        if parameter.ndim < 2:
            delta[name] = torch.zeros(parameter.shape)
            continue
        rest = parameter[0].numel()
        size = min(rank, parameter.shape[0], rest)
        delta[f"{name}.left"] = torch.zeros(parameter.shape[0], size)
        delta[f"{name}.right"] = torch.randn(size, rest, generator=generator) / rest**0.5
    return delta


def with_delta(network: nn.Module, delta: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The network's parameters with the delta added, for `torch.func.functional_call`; differentiable in the delta.

    Raises:
        KeyError: the delta belongs to another network.
    """
    parameters: dict[str, torch.Tensor] = dict(network.named_parameters())
    changed = dict(parameters)
    for name, value in delta.items():
        if name.endswith(".right"):
            continue
        if name.endswith(".left"):
            full = name.removesuffix(".left")
            changed[full] = parameters[full] + (value @ delta[f"{full}.right"]).view_as(parameters[full])
        else:
            changed[name] = parameters[name] + value
    return changed


def add_delta(network: nn.Module, delta: Mapping[str, torch.Tensor]) -> None:
    """Add the delta to the network's own parameters, in place."""
    with torch.no_grad():
        for name, value in with_delta(network, delta).items():
            network.get_parameter(name).copy_(value)
