"""Part: one actor's part in a dub, ready to be drawn."""

from dataclasses import dataclass

import torch

from adapt.actor.bundle import ActorBundle
from render.head.track import Track


@dataclass(frozen=True)
class Part:
    """One actor's part in a dub.

    Attributes:
        bundle: the fitted actor.
        track: of that person in the shot.
        expression: [T, E] lower expression to be drawn, one row a frame.
        driven: [T] bool; frames whose motion is known.
    """

    bundle: ActorBundle
    track: Track
    expression: torch.Tensor
    driven: torch.Tensor
