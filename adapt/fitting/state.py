"""State of a fit: all that is learnt so far, and the best of it; a checkpoint resumes to the same bytes."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from render.errors import StoreError
from render.store import load_tensors, save_tensors

CHECKPOINT = "adapt-fit-checkpoint"
CHECKPOINT_VERSION = 3
#: What of a state is stored as a number.
NUMBERS = ("step", "best_loss", "unadapted_loss")


@dataclass(frozen=True)
class Checkpoint:
    """Where a fit saves its progress.

    Attributes:
        path: file.
        resume: go on from it if it is there.
        identity: JSON-able facts that say which fit it is of.
        is_expected: whoever asks to go on expects that there is something; where not, it is told.
    """

    path: Path
    resume: bool = False
    identity: dict[str, Any] = field(default_factory=dict)
    is_expected: bool = True

    @property
    def name(self) -> str:
        """What is being fitted, as its file's name has it."""
        return self.path.name.strip(".").removesuffix(".checkpoint")


@dataclass(frozen=True)
class Adapted:
    """What was adapted to an actor: texture [1, C, H, W], and the delta of the renderer by name."""

    texture: torch.Tensor
    delta: dict[str, torch.Tensor]


@dataclass
class FitState:
    """What a fit changes as it goes; saved in checkpoints.

    `is_whole` is False while a step changes it: what is interrupted then is no state to go on from.
    """

    texture: torch.Tensor
    delta: dict[str, torch.Tensor]
    moments: dict[str, torch.Tensor] = field(default_factory=dict)
    step: int = 0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_loss: float = math.inf
    unadapted_loss: float = math.inf
    history: list[dict[str, float]] = field(default_factory=list)
    is_whole: bool = True

    @property
    def parameters(self) -> dict[str, torch.Tensor]:
        """Texture and delta by name."""
        return {"texture": self.texture, **self.delta}

    @property
    def adapted(self) -> Adapted | None:
        """The parameters to draw with; None where the unadapted prior drew held-out frames best."""
        if not self.best:
            return None
        return Adapted(self.best["texture"], {name: value for name, value in self.best.items() if name != "texture"})

    def to(self, device: torch.device) -> "FitState":
        """The same on another device."""
        delta, moments, best = (
            {name: value.to(device) for name, value in named.items()} for named in (self.delta, self.moments, self.best)
        )
        return replace(self, texture=self.texture.to(device), delta=delta, moments=moments, best=best)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint."""
        groups = {"now": self.parameters, "best": self.best, "moment": self.moments}
        tensors = {f"{group}/{name}": value for group, named in groups.items() for name, value in named.items()}
        numbers = {name: getattr(self, name) for name in NUMBERS}
        facts = {**numbers, "history": self.history, "fit": checkpoint.identity}
        save_tensors(checkpoint.path, CHECKPOINT, CHECKPOINT_VERSION, tensors, facts)

    @staticmethod
    def load(checkpoint: Checkpoint) -> "FitState":
        """Read a checkpoint; raises `StoreError` where it belongs to another fit, or is damaged."""
        tensors, stored = load_tensors(checkpoint.path, CHECKPOINT, CHECKPOINT_VERSION)
        if stored.pop("fit", None) != checkpoint.identity:
            raise StoreError(
                f"{checkpoint.path}: the checkpoint is of another fit (footage, settings or prior differ); "
                "fit without --resume"
            )
        groups: dict[str, dict[str, torch.Tensor]] = {"now": {}, "best": {}, "moment": {}}
        for name, value in tensors.items():
            group, _, rest = name.partition("/")
            groups.setdefault(group, {})[rest] = value
        now, best = ({name: value.shape for name, value in groups[group].items()} for group in ("now", "best"))
        whole = len(groups) == 3 and "texture" in now and best in ({}, now)
        numbers = [stored.pop(name, None) for name in NUMBERS]
        history = stored.pop("history", None)
        if stored or not whole or not isinstance(history, list) or not all(type(n) in (int, float) for n in numbers):
            raise StoreError(f"{checkpoint.path}: the checkpoint is damaged; fit without --resume")
        state = FitState(groups["now"].pop("texture"), groups["now"], groups["moment"], best=groups["best"])
        return replace(state, history=history, **dict(zip(NUMBERS, numbers, strict=True)))
