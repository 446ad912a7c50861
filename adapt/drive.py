"""Motion made ready for one shot: put on its frame times, scaled, retargeted, and how much of it each frame takes.

Pure functions on tensors; nothing here reads a file. Times are seconds, expressions are lower-expression coefficients.
"""

import math

import torch

from render.errors import DubError
from render.motion import Motion

MISMATCH = ("error", "trim", "pad", "hold")
#: In place of what drives: nobody speaks, the mouth stays closed.
SILENCE = "silence"
#: Lengths that differ by no more than this are equal: encoders pad audio to whole packets.
TOLERANCE_SECONDS = 0.15
#: Where motion ends and the mouth is closed for the rest, it takes so long.
PAD_SECONDS = 0.2
#: An actor's range is at most so much larger or smaller than the driver's: a few seconds often are of calm talking.
RANGE_LIMIT = 1.5


def motion_at(
    motion: Motion,
    timestamps: torch.Tensor,
    rest: torch.Tensor,
    on_mismatch: str = "error",
    offset_seconds: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample a motion at a shot's frame times.

    Args:
        motion: what drives; its time 0 is the shot's first frame.
        timestamps: [T] float64 seconds of the shot's frames, increasing.
        rest: [E] expression of the closed mouth, used by "pad".
        on_mismatch: what happens where the motion ends before the shot or after it: "error" refuses; "trim" leaves the
            shot's remaining frames as they are; "pad" closes the mouth there; "hold" keeps the last expression.
        offset_seconds: added to the motion's times (positive: the sound comes later).

    Returns:
        Expression [T, E] float32, and whether the frame is driven, bool [T].

    Raises:
        DubError: lengths differ and `on_mismatch` is "error", or is none of the four words.
    """
    if on_mismatch not in MISMATCH:
        raise DubError(f"--on-mismatch {on_mismatch}: choose one of {', '.join(MISMATCH)}")
    times = motion.timestamps + offset_seconds
    query = timestamps - timestamps[0]
    step = _step(times)
    difference = float(times[-1] + step - (query[-1] + _step(query)))
    if on_mismatch == "error" and abs(difference) > TOLERANCE_SECONDS:
        longer = "longer" if difference > 0 else "shorter"
        raise DubError(
            f"the driving motion is {abs(difference):.2f} s {longer} than the shot; "
            "pass --on-mismatch trim, pad or hold, or give the part with --range"
        )
    right = torch.searchsorted(times, query).clamp(1, max(len(times) - 1, 1))
    left = right - 1
    right = right.clamp(max=len(times) - 1)
    span = (times[right] - times[left]).clamp(min=1e-9)
    weight = ((query - times[left]) / span).clamp(0, 1).to(motion.lower_expression.dtype)[:, None]
    expression = torch.lerp(motion.lower_expression[left], motion.lower_expression[right], weight)
    slack = max(step, TOLERANCE_SECONDS)
    inside = (query >= times[0] - slack) & (query <= times[-1] + slack)
    known = torch.maximum(motion.confidence[left], motion.confidence[right]) > 0
    if on_mismatch == "pad":
        beyond = torch.maximum(times[0] - query, query - times[-1]).clamp(0, PAD_SECONDS) / PAD_SECONDS
        closed = torch.where(known, (1 - torch.cos(math.pi * beyond)) / 2, 1.0)[:, None]
        return torch.lerp(expression, rest.expand_as(expression), closed.to(expression.dtype)), torch.ones_like(inside)
    if on_mismatch == "hold":
        return expression, torch.ones_like(inside)
    return expression, inside & known


def _step(times: torch.Tensor) -> float:
    return float((times[1:] - times[:-1]).median()) if len(times) > 1 else 0.0


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


def blend_weights(
    usable: torch.Tensor, shot: torch.Tensor, timestamps: torch.Tensor, ramp_seconds: float
) -> torch.Tensor:
    """How much of the dub each frame takes, ramping over time at the edges of gaps, never across or towards a cut.

    Args:
        usable: [T] bool; frames that can be dubbed.
        shot: [T] shot index.
        timestamps: [T] seconds.
        ramp_seconds: length of the ramp beside a gap.

    Returns:
        [T] float32 in [0, 1]: 0 exactly on unusable frames, 1 away from gaps. Beside a cut there is no ramp: the shot
        begins or ends there, and a ramp would show the old mouth.
    """
    weights = torch.zeros(len(usable), dtype=torch.float32)
    for index in torch.unique(shot).tolist():
        rows = torch.nonzero(shot == index).flatten()
        gaps = timestamps[rows[~usable[rows]]]
        if len(gaps) == 0:
            weights[rows] = 1.0
            continue
        # The nearest gap before or after; a table of all pairs would not fit a long shot.
        after = torch.searchsorted(gaps, timestamps[rows])
        near = torch.stack([gaps[(after - 1).clamp(min=0)], gaps[after.clamp(max=len(gaps) - 1)]])
        distance = (timestamps[rows] - near).abs().min(0).values
        ramp = (distance / max(ramp_seconds, 1e-6)).clamp(0, 1)
        # A raised cosine: no visible start or stop.
        weights[rows] = (0.5 - 0.5 * torch.cos(math.pi * ramp)).float()
    return weights


def pose_weights(rotation: torch.Tensor, low: torch.Tensor, high: torch.Tensor, fade_radians: float) -> torch.Tensor:
    """1 inside the fitted pose range, falling to 0 over `fade_radians` beyond it.

    Args:
        rotation: [T, 3] head rotation, radians.
        low: [3] smallest rotation that the renderer can be trusted with; `high` the largest.
        high: [3].
        fade_radians: width of the fade.
    """
    beyond = torch.maximum(low - rotation, rotation - high).clamp(min=0).max(-1).values
    return (1 - beyond / fade_radians).clamp(0, 1).float()
