"""Controls of motion: what an editor may change of it before it is drawn, each over a range, in one order.

Expressions are lower-expression coefficients, float32 [T, E], one row a frame; times are seconds from the shot's first
frame. Whatever order they are given in, controls act in that of `ORDER`; rows outside a control's range stay as they
are, to the bit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import ClassVar, Protocol

import torch

from adapt.motion.placement import rows_around
from prior.motion.closures import LABIODENTAL_OPENING
from prior.motion.lips_part import lips_part
from render.head.face_model import FaceModel

#: Stages of control. At "limits" what was done before is taken back where it would part lips that have to meet, or be
#: too fast; to scale all movement about the closed mouth ("mouth") is not judged.
ORDER = ("timing", "turn", "style", "emotion", "keys", "intensity", "weights", "limits", "mouth")
#: A control's range begins and ends with a fade of so many seconds, inside of it.
FADE_SECONDS = 0.12
#: Speed of the opening that controls may lead to: one of 200 frames of training people has a higher one.
FASTEST_CM_S = 35.0
#: An actor's range is at most so much larger or smaller than the driver's: a few seconds often are of calm talking.
#: With 2, an actor of four calm seconds was given openings too small to be seen.
RANGE_LIMIT = 1.5


@dataclass(frozen=True)
class PlacedMotion:
    """A mouth's motion on the frames of a shot, and what is known of each frame.

    Attributes:
        seconds: [T] float64 from the shot's first frame.
        expression: [T, E].
        mean: [T, E] expression about which this person moves there: of talking, or at rest where nobody speaks.
        speaking: [T] in [0, 1], how far the mouth may leave rest.
        shut: [T] in [0, 1], how far the lips have to be together.
        near: [T] in [0, 1], how far they have to be near each other.
    """

    seconds: torch.Tensor
    expression: torch.Tensor
    mean: torch.Tensor
    speaking: torch.Tensor
    shut: torch.Tensor
    near: torch.Tensor


@dataclass(frozen=True)
class TalkingStyle:
    """How somebody talks.

    Attributes:
        talking: [E] from the closed mouth to the mean of talking.
        spread: [E] about that mean.
    """

    talking: torch.Tensor
    spread: torch.Tensor


@dataclass(frozen=True)
class Speaker:
    """Whose mouth is controlled.

    Attributes:
        person: cast number in the shot.
        closed: [E] expression of the closed mouth.
        mean: [E] of talking.
        spread: [E] of talking.
        opening_axis: [E] cm of lip opening per unit of each coefficient.
        closing_direction: [E] how coefficients change per cm of opening when people talk.
        face_model: of the coefficients.
        others: styles of other people that were read, by where from.
    """

    person: int
    closed: torch.Tensor
    mean: torch.Tensor
    spread: torch.Tensor
    opening_axis: torch.Tensor
    closing_direction: torch.Tensor
    face_model: FaceModel
    others: Mapping[Path, TalkingStyle] = field(default_factory=dict)


class Control(Protocol):
    """One change of a mouth's motion."""

    @property
    def stage(self) -> str:
        """When it acts, a word of `ORDER`."""
        ...

    def applied(self, motion: PlacedMotion, speaker: Speaker) -> PlacedMotion:
        """The changed motion of the whole shot; times and number of rows stay."""
        ...


@dataclass(frozen=True)
class Cue:
    """A control over a range of a shot.

    Attributes:
        control: what acts.
        start, end: seconds from the shot's first frame; infinite where it has no beginning or end.
        person: cast number of whose mouth is meant; None for everyone's.
        told: in words, for the report.
    """

    control: Control
    start: float = -math.inf
    end: float = math.inf
    person: int | None = None
    told: str = ""

    def applied(self, motion: PlacedMotion, speaker: Speaker) -> PlacedMotion:
        """The motion, changed in the range."""
        share = share_of_range(motion.seconds, self.start, self.end)
        changed = self.control.applied(motion, speaker)
        if bool((share == 1).all()):
            return changed
        return replace(
            motion,
            **{
                one.name: _blended(getattr(motion, one.name), getattr(changed, one.name), share)
                for one in fields(PlacedMotion)
                if one.name != "seconds"
            },
        )


def share_of_range(seconds: torch.Tensor, start: float, end: float) -> torch.Tensor:
    """1 inside a range, 0 outside, eased over `FADE_SECONDS` inside its ends (half of it where it is short); [T]."""
    if end <= start:
        return torch.zeros(len(seconds))
    fade = min(FADE_SECONDS, (end - start) / 2)
    inside = torch.minimum(seconds - start, end - seconds)
    return (0.5 - 0.5 * torch.cos(math.pi * (inside / fade).clamp(0, 1))).float()


def _blended(before: torch.Tensor, after: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Rows of `after` where the share [T] is 1, of `before` where it is 0, to the bit; between them elsewhere."""
    share = share.reshape(-1, *[1] * (before.ndim - 1))
    between = torch.lerp(before, after, share.to(before.dtype))
    return torch.where(share == 0, before, torch.where(share == 1, after, between))


def directed(motion: PlacedMotion, speaker: Speaker, cues: Sequence[Cue]) -> torch.Tensor:
    """The expression [T, E] after all cues that mean this speaker: in the order of their stages, then as given."""
    meant = [cue for cue in cues if cue.person in (None, speaker.person)]
    timed = None
    for stage in ORDER:
        if stage == "limits" and timed is not None:
            motion = within_limits(timed, motion, speaker)
        for cue in meant:
            if cue.control.stage == stage:
                timed = motion if timed is None and stage != "timing" else timed
                motion = cue.applied(motion, speaker)
    return motion.expression


def within_limits(base: PlacedMotion, motion: PlacedMotion, speaker: Speaker) -> PlacedMotion:
    """A changed motion whose lips meet, or are near, where those of the base do; where it did not change, it stays.

    What changes add to the opening fades to nothing where the lips have to be together; lips do not pass through each
    other; and the opening is no faster than `FASTEST_CM_S`, or than it was.
    """
    before = (base.expression - speaker.closed) @ speaker.opening_axis
    after = (motion.expression - speaker.closed) @ speaker.opening_axis
    open_before = before.clamp(min=0)
    near = torch.maximum(open_before, LABIODENTAL_OPENING * (speaker.mean - speaker.closed) @ speaker.opening_axis)
    wider = torch.lerp(after, torch.minimum(after, near), motion.near)
    wider = open_before + (wider - open_before) * (1 - motion.shut)
    kept = torch.where(after > open_before, wider, torch.maximum(after, before.clamp(max=0)))
    kept = slowed(before, kept, motion.seconds)
    expression = motion.expression - (after - kept)[:, None] * speaker.closing_direction
    return replace(motion, expression=torch.where((after == kept)[:, None], motion.expression, expression))


def slowed(before: torch.Tensor, after: torch.Tensor, seconds: torch.Tensor) -> torch.Tensor:
    """An opening [T] that keeps as much of a change as it may without being too fast; cm.

    What was added is cut to the largest curve that is slow enough, and so is what was taken away. As the opening before
    is slow enough itself, neither goes beyond it: what did not change stays, to the bit.
    """
    steps = torch.maximum(before.diff().abs(), (FASTEST_CM_S * seconds.diff()).to(before.dtype))
    wider = _ceiling(torch.maximum(before, after), steps)
    wider = torch.where(after > before, torch.maximum(wider, before), before)
    return torch.where(after < before, torch.minimum(-_ceiling(-torch.minimum(after, wider), steps), wider), wider)


def _ceiling(series: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """The largest curve [T] that lies nowhere above a series and changes by at most `steps` [T - 1] from row to row."""
    values, limits = series.tolist(), steps.tolist()
    for row in range(1, len(values)):
        values[row] = min(values[row], values[row - 1] + limits[row - 1])
    for row in range(len(values) - 2, -1, -1):
        values[row] = min(values[row], values[row + 1] + limits[row])
    return torch.tensor(values, dtype=series.dtype)


@dataclass(frozen=True)
class MouthScale:
    """Every movement away from the closed mouth made larger or smaller; 1 changes nothing."""

    factor: float = 1.0
    stage: ClassVar[str] = "mouth"

    def applied(self, motion: PlacedMotion, speaker: Speaker) -> PlacedMotion:
        """Scaled about the closed mouth."""
        return replace(motion, expression=speaker.closed + (motion.expression - speaker.closed) * self.factor)


@dataclass(frozen=True)
class Offset:
    """Motion that comes later, or earlier where negative, than what is heard."""

    seconds: float
    stage: ClassVar[str] = "timing"

    def applied(self, motion: PlacedMotion, speaker: Speaker) -> PlacedMotion:
        """Every frame has what was there so much earlier; the ends are held."""
        left, right, weight = rows_around(motion.seconds, motion.seconds - self.seconds)
        moved = {}
        for one in fields(PlacedMotion):
            series = getattr(motion, one.name)
            share = weight.to(series.dtype).reshape(-1, *[1] * (series.ndim - 1))
            moved[one.name] = torch.lerp(series[left], series[right], share)
        return replace(motion, **{**moved, "seconds": motion.seconds})


@dataclass(frozen=True)
class Listening:
    """Somebody else speaks: the mouth rests."""

    stage: ClassVar[str] = "turn"

    def applied(self, motion: PlacedMotion, speaker: Speaker) -> PlacedMotion:
        """The closed mouth throughout."""
        closed, silent = speaker.closed.expand_as(motion.expression), torch.zeros_like(motion.speaking)
        return replace(
            motion, expression=closed, mean=closed, speaking=silent, shut=torch.ones_like(silent), near=silent
        )


@dataclass(frozen=True)
class Intensity:
    """Movement about this person's mean of talking made larger or smaller, lips still meeting; 1 changes nothing."""

    factor: float
    stage: ClassVar[str] = "intensity"

    def applied(self, motion: PlacedMotion, speaker: Speaker) -> PlacedMotion:
        """Scaled about the mean."""
        if self.factor == 1:
            return motion
        return replace(motion, expression=motion.mean + (motion.expression - motion.mean) * self.factor)


@dataclass(frozen=True)
class Weights:
    """Movement of the lips, and of cheeks and jaw, each by a factor of its own; 0 leaves that at rest, 1 as it is."""

    lips: float = 1.0
    jaw: float = 1.0
    stage: ClassVar[str] = "weights"

    def applied(self, motion: PlacedMotion, speaker: Speaker) -> PlacedMotion:
        """Scaled about the closed mouth, lips apart from the skin around them."""
        if self.lips == self.jaw == 1:
            return motion
        part = lips_part(speaker.face_model)
        both = self.lips * part + self.jaw * (torch.eye(len(part)) - part)
        return replace(motion, expression=speaker.closed + (motion.expression - speaker.closed) @ both.T)


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
