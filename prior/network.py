"""A network out of a file: what the file says of its size and weights is looked at before anything is built of it.

In: sizes and tensors as `render.store` read them. Out: the network, filled. A file that says something else is refused
by name; nothing of a size that its tensors do not have is allocated.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from render.errors import StoreError
from render.store import SCALE, load_tensors, unpacked

Network = TypeVar("Network", bound=nn.Module)

#: Fact of a file that says the sizes of its network.
SIZES = "config"
#: The largest number in a size; of networks side by side, and of entries in a list.
LARGEST, MOST = 4096, 64
#: What initialisers call.
FILLING = ("uniform_", "normal_", "zero_", "fill_", "kaiming_uniform_")


def stored_network(
    build: Callable[..., Network],
    sizes: Any,
    tensors: Mapping[str, torch.Tensor],
    path: Path,
    divisors: Sequence[str] = (),
) -> Network:
    """A network of stored sizes, filled with stored tensors, on the CPU.

    Args:
        build: called with the sizes, lists as tuples.
        sizes: name → number or list of numbers, as the file says.
        tensors: all that the network holds.
        path: of the file, for the message.
        divisors: names of tensors that something is divided by, or whose logarithm is taken.

    Raises:
        StoreError: the sizes are no sizes, the tensors are not those of such a network, or a divisor is not above 0.
    """
    checked = _checked(sizes, path)
    try:
        with torch.device("meta"), _Unfilled():
            wanted = build(**checked)
    except (TypeError, ValueError, RuntimeError, IndexError, ZeroDivisionError) as error:
        raise _refusal(path, f"no network has the sizes {checked} ({str(error).splitlines()[0]})") from error
    refuse_others(wanted, tensors, path)
    for name in divisors:
        if not bool((tensors[name] > 0).all()):
            raise _refusal(path, f"{name} holds values that are not above 0")
    network = build(**checked)
    network.load_state_dict(dict(tensors))
    return network


def load_network(
    build: Callable[..., Network],
    path: Path,
    kind: str,
    kind_version: int,
    divisors: Sequence[str] = (),
) -> Network:
    """A network that `save_tensors` wrote with its sizes as fact `SIZES`: in evaluation mode, float32, on the CPU.

    Args:
        build: called with the sizes, lists as tuples.
        path: of the file.
        kind: of file that it has to be.
        kind_version: of that kind.
        divisors: as of `stored_network`.

    Raises:
        StoreError, StoreVersionError: the file is missing, foreign or of another version, or holds no such network.
    """
    tensors, facts = load_tensors(path, kind, kind_version)
    weights = {name: value.float() for name, value in unpacked_weights(tensors, path).items()}
    return stored_network(build, facts.get(SIZES), weights, path, divisors).eval()


class _Unfilled(TorchFunctionMode):
    """Initialisers do nothing: to fill tensors that have no memory, PyTorch loads what takes it a second."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """What is called, or the tensor that would be filled as it is."""
        given = kwargs or {}
        return (args or tuple(given.values()))[0] if func.__name__ in FILLING else func(*args, **given)


def unpacked_weights(stored: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """Float32 weights from those of a file that were packed; raises `StoreError` where a scale is none or another's."""
    for name, value in stored.items():
        scale = stored.get(name + SCALE)
        if scale is None:
            continue
        if value.ndim < 2 or scale.shape != value.shape[:1]:
            raise _refusal(path, f"{name + SCALE} is {list(scale.shape)}, {name} is {list(value.shape)}")
        if not bool((scale > 0).all()):
            raise _refusal(path, f"{name + SCALE} holds values that are not above 0")
    return unpacked(stored)


def refuse_others(network: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise `StoreError` where tensors are not those that a network holds: other names, shapes, or not finite."""
    wanted = network.state_dict()
    wrong = sorted(set(wanted) ^ set(tensors))
    if wrong:
        what = "is missing" if wrong[0] in wanted else "is none of its tensors"
        raise _refusal(path, f"{wrong[0]} {what}, {len(wrong)} such names in all")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise _refusal(path, f"{name} is {list(tensor.shape)}, not {list(wanted[name].shape)}")
        if not bool(torch.isfinite(tensor).all()):
            raise _refusal(path, f"{name} holds values that are not finite")


def _checked(sizes: Any, path: Path) -> dict[str, Any]:
    if not isinstance(sizes, Mapping):
        raise _refusal(path, "it says no sizes of its network")
    for name, size in sizes.items():
        numbers = size if isinstance(size, (list, tuple)) else [size]
        largest = MOST if name == "members" else LARGEST
        if len(numbers) > MOST or not all(type(n) in (int, float) and 0 < n <= largest for n in numbers):
            raise _refusal(path, f"{name} is {str(size)[:60]}, which is no size of a network")
    return {name: tuple(size) if isinstance(size, list) else size for name, size in sizes.items()}


def _refusal(path: Path, what: str) -> StoreError:
    return StoreError(f"{path}: not the weights of such a network: {what}; copy the file again, or train it again")
