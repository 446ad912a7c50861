"""Placement: motion put on the frame times of a shot, or of a part of it.

Pure functions on tensors; nothing here reads a file. Times are seconds, expressions are lower-expression coefficients.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from adapt.motion.words import MISMATCH
from render.errors import DubError
from render.head.motion import Motion
from render.head.track import Track, frame_seconds

#: Lengths that differ by no more than this are equal: encoders pad audio to whole packets.
TOLERANCE_SECONDS = 0.15
#: Where motion ends and the mouth is closed for the rest, it takes so long.
PAD_SECONDS = 0.2


def motion_at(
    motion: Motion,
    timestamps: torch.Tensor,
    rest: torch.Tensor,
    on_mismatch: str = "error",
    offset_seconds: float = 0.0,
    shot_seconds: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample a motion at a shot's frame times.

    Args:
        motion: what drives; its time 0 is the shot's first frame.
        timestamps: [T] float64 seconds of the shot's frames, increasing.
        rest: [E] expression of the closed mouth, used by "pad".
        on_mismatch: what happens where the motion ends before the shot or after it: "error" refuses; "trim" leaves the
            shot's remaining frames as they are; "pad" closes the mouth there; "hold" keeps the last expression.
        offset_seconds: added to the motion's times (positive: the sound comes later).
        shot_seconds: from the first frame to the end of the last; None where that lasts as long as most.

    Returns:
        Expression [T, E] float32, and whether the frame is driven, bool [T].

    Raises:
        DubError: lengths differ and `on_mismatch` is "error", or is none of the four words.
    """
    if on_mismatch not in MISMATCH:
        raise DubError(f"--on-mismatch {on_mismatch}: choose one of {', '.join(MISMATCH)}")
    times = motion.timestamps + offset_seconds
    query = timestamps - timestamps[0]
    step = frame_seconds(times)
    if shot_seconds is None:
        shot_seconds = float(query[-1]) + frame_seconds(query)
    difference = float(times[-1]) + step - shot_seconds
    if on_mismatch == "error" and abs(difference) > TOLERANCE_SECONDS:
        longer = "longer" if difference > 0 else "shorter"
        raise DubError(
            f"the driving motion is {abs(difference):.2f} s {longer} than the shot; "
            "pass --on-mismatch trim, pad or hold, or give the part with --range"
        )
    left, right, weight = rows_around(times, query)
    weight = weight.to(motion.lower_expression.dtype)[:, None]
    expression = torch.lerp(motion.lower_expression[left], motion.lower_expression[right], weight)
    slack = max(step, TOLERANCE_SECONDS)
    inside = (query >= times[0] - slack) & (query <= times[-1] + slack)
    has_motion = torch.maximum(motion.confidence[left], motion.confidence[right]) > 0
    if on_mismatch == "pad":
        beyond = torch.maximum(times[0] - query, query - times[-1]).clamp(0, PAD_SECONDS) / PAD_SECONDS
        closed = torch.where(has_motion, (1 - torch.cos(math.pi * beyond)) / 2, 1.0)[:, None]
        return torch.lerp(expression, rest.expand_as(expression), closed.to(expression.dtype)), torch.ones_like(inside)
    if on_mismatch == "hold":
        return expression, torch.ones_like(inside)
    return expression, inside & has_motion


def rows_around(times: torch.Tensor, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Between which rows of a series times lie: rows before and after, int64 [Q], and the later one's weight [Q].

    Beyond the ends it is the first or last row. `times` [T] and `query` [Q] are float64 seconds.
    """
    right = torch.searchsorted(times, query).clamp(1, max(len(times) - 1, 1))
    left = right - 1
    right = right.clamp(max=len(times) - 1)
    span = (times[right] - times[left]).clamp(min=1e-9)
    return left, right, ((query - times[left]) / span).clamp(0, 1)


@dataclass(frozen=True)
class Placement:
    """Where in a shot motion lies.

    Attributes:
        part: (start, end) seconds from the first frame; None for the whole shot.
        offset_seconds: by which what drives starts later than the part.
        on_mismatch: see `motion_at`.
    """

    part: tuple[float, float] | None = None
    offset_seconds: float = 0.0
    on_mismatch: str = "error"

    def inside(self, timestamps: np.ndarray, ends: np.ndarray, name: str) -> np.ndarray:
        """Frames of the part, bool [T].

        Args:
            timestamps: [T] float64 seconds at which the frames begin.
            ends: [T] float64 seconds at which they end.
            name: of the shot, for the message.

        Raises:
            DubError: there is none.
        """
        time = timestamps - timestamps[0]
        if self.part is None:
            return np.ones(len(time), bool)
        start, end = self.part
        inside = (time >= start) & (time < end)
        if not inside.any():
            long = ends[-1] - timestamps[0]
            raise DubError(f"--range {start:g}-{end:g}: no frame begins in it; {name} is {long:.2f} s long")
        return np.asarray(inside)

    def seconds(self, timestamps: np.ndarray, ends: np.ndarray, inside: np.ndarray) -> float:
        """From the first frame of the part to the end of the last, or of the part where that comes first.

        Args:
            timestamps: [T] float64 seconds at which the shot's frames begin.
            ends: [T] float64 seconds at which they end.
            inside: frames of the part, bool [T].
        """
        first, end = timestamps[inside][0], ends[inside][-1]
        return float((end if self.part is None else min(end, timestamps[0] + self.part[1])) - first)

    def refuse_length(self, seconds: float, shot: float, name: str) -> None:
        """Refuse a sound of another length before anything long is begun; motion is compared again, exactly.

        Args:
            seconds: of the sound.
            shot: seconds that are to be dubbed, see `seconds`.
            name: of the sound, for the message.

        Raises:
            DubError: lengths differ, and nothing says what is to happen then.
        """
        if self.on_mismatch != "error":
            return
        end = seconds + self.offset_seconds
        if abs(end - shot) > 2 * TOLERANCE_SECONDS:
            raise DubError(
                f"{name}: ends {abs(end - shot):.2f} s {'after' if end > shot else 'before'} the {shot:.2f} s to be "
                "dubbed; pass --on-mismatch trim, pad or hold, or give the part with --range"
            )

    def placed(
        self, motion: Motion, track: Track, inside: torch.Tensor, seconds: float, rest: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The motion on the frames of the part; others keep the track's own.

        Args:
            motion: what drives.
            track: of the shot.
            inside: [T] bool, frames of the part.
            seconds: how long the part is, see `seconds`.
            rest: [E] expression of the closed mouth.

        Returns:
            Expression [T, E], and whether the frame is driven, bool [T].
        """
        rows = inside.nonzero()[:, 0]
        # The sound starts with the part, the first frame in it a part of a frame later.
        late = float(track.timestamps[rows[0]] - track.timestamps[0]) - self.part[0] if self.part else 0.0
        expression, driven = track.lower_expression.clone(), torch.zeros(len(track), dtype=torch.bool)
        expression[rows], driven[rows] = motion_at(
            motion, track.timestamps[rows], rest, self.on_mismatch, self.offset_seconds - late, seconds
        )
        return expression, driven
