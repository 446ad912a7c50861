"""Controls of motion: what an editor may change of it before it is drawn, applied in the order given.

Expressions are lower-expression coefficients, float32 [T, E]; a control is a pure function of them and of the style.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from prior.motion.style import MouthStyle

#: An actor's range is at most so much larger or smaller than the driver's: a few seconds often are of calm talking.
#: With 2, an actor of four calm seconds was given openings too small to be seen.
RANGE_LIMIT = 1.5


class Control(Protocol):
    """One change of a mouth's motion."""

    def applied(self, expression: torch.Tensor, style: MouthStyle) -> torch.Tensor:
        """The changed expression [T, E] of an actor of that style."""
        ...


@dataclass(frozen=True)
class MouthScale:
    """Every movement away from the closed mouth made larger or smaller; 1 changes nothing."""

    factor: float = 1.0

    def applied(self, expression: torch.Tensor, style: MouthStyle) -> torch.Tensor:
        """Scaled about the closed mouth."""
        return style.closed + (expression - style.closed) * self.factor


def controlled(expression: torch.Tensor, style: MouthStyle, controls: Sequence[Control]) -> torch.Tensor:
    """An expression [T, E] after all controls, in their order."""
    for control in controls:
        expression = control.applied(expression, style)
    return expression


def retarget(
    expression: torch.Tensor,
    driver_rest: torch.Tensor,
    driver_spread: torch.Tensor,
    actor_rest: torch.Tensor,
    actor_spread: torch.Tensor,
) -> torch.Tensor:
    """Carry a driver's motion over to the actor's own closed mouth and range.

    Args:
        expression: [T, E] of the driver.
        driver_rest: [E] the driver's closed mouth; `actor_rest` the actor's.
        driver_spread: [E] standard deviation of the driver's expression about rest; `actor_spread` the actor's.
        actor_rest: [E].
        actor_spread: [E].

    Returns:
        [T, E]. Ratios are kept within `RANGE_LIMIT`: little footage says little about range.
    """
    ratio = (actor_spread / driver_spread.clamp(min=1e-6)).clamp(1 / RANGE_LIMIT, RANGE_LIMIT)
    return actor_rest + (expression - driver_rest) * ratio
