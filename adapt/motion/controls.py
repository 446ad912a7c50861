"""Controls of motion: pure functions that change an expression [T, E] before it is drawn."""

import torch

from render.errors import DubError

#: An actor's range is at most so much larger or smaller than the driver's: a few seconds often are of calm talking.
RANGE_LIMIT = 1.5


def scale_mouth(expression: torch.Tensor, rest: torch.Tensor, factor: float) -> torch.Tensor:
    """Make every movement away from the closed mouth larger or smaller. `factor` in [0.6, 1.4]; 1 changes nothing."""
    if not 0.6 <= factor <= 1.4:
        raise DubError(f"--mouth {factor}: give a factor from 0.6 to 1.4")
    return rest + (expression - rest) * factor


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
