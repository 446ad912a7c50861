"""What a training run saves to go on from: tensors of networks, optimisers and plain dictionaries, by name.

In and out: one flat dictionary of tensors, as safetensors files hold it; a part's tensors are named `PART.…`.
"""

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import nn

#: Something with tensors that a run changes.
Part = nn.Module | torch.optim.Optimizer | dict[str, torch.Tensor]


def pack_parts(parts: Mapping[str, Part]) -> dict[str, torch.Tensor]:
    """All tensors of some parts; names of parts hold no dot."""
    tensors: dict[str, torch.Tensor] = {}
    for name, part in parts.items():
        if isinstance(part, torch.optim.Optimizer):
            for index, state in part.state_dict()["state"].items():
                tensors |= {f"{name}.{index}.{key}": value for key, value in state.items()}
        else:
            own = part.state_dict() if isinstance(part, nn.Module) else part
            tensors |= {f"{name}.{key}": value for key, value in own.items()}
    return tensors


def unpack_parts(tensors: Mapping[str, torch.Tensor], parts: Mapping[str, Part]) -> None:
    """Put the tensors of `pack_parts` back into parts of the same make; tensors go to where each part's are.

    Raises:
        KeyError, RuntimeError: the parts are of another make.
    """
    found: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for path, value in tensors.items():
        name, _, key = path.partition(".")
        found[name][key] = value
    for name, part in parts.items():
        own = found[name]
        if isinstance(part, torch.optim.Optimizer):
            states: dict[int, dict[str, torch.Tensor]] = defaultdict(dict)
            for path, value in own.items():
                index, _, key = path.partition(".")
                states[int(index)][key] = value
            part.load_state_dict({"state": dict(states), "param_groups": part.state_dict()["param_groups"]})
        elif isinstance(part, nn.Module):
            part.load_state_dict(own)
        else:
            for key in part:
                part[key] = own[key].to(part[key].device)
