"""What a drawn mouth does, against the real one or the sound: opening, closures, silence, lip landmarks.

In: openings [T] (gap of the inner lips in eye distances, of `adapt.metrics.mouth_meter`), lip landmarks [T, N, 2] px,
times in seconds. Out: one value a clip; one a frame where stated. The detector is the one that the tracks were made
with, never one that a renderer learnt from; the real video goes through the same detector.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from prior.face.points import LIPS_INNER, LIPS_OUTER, eye_distance
from prior.speech.phonemes import CLOSED, LABEL_RATE

#: Share of frames taken as a mouth's most closed and most open, so that one bad detection does not decide.
TAIL = 0.05
#: A closure is looked for so long before and after its phone, seconds; frames are 0.04 s apart.
CLOSURE_MARGIN_SECONDS = 0.04
#: How far lips may stay open at p b m and still count as closed, as a detector sees them, in shares of the real mouth's
#: range. Predicted motion, which no detector's noise is in, is held to less: `prior.benchmarks.motion`.
CLOSED_SHARE_OF_REAL = 0.15
LIP_POINTS = (*LIPS_OUTER, *LIPS_INNER)


@dataclass(frozen=True)
class Closures:
    """How well lips close where a sound asks for it.

    Attributes:
        count: closures judged.
        depth: mean of what stays open at the most closed frame of each, in shares of the real opening's range: 0 is
            right, 1 is as open as the real mouth ever is, below 0 is pressed.
        closed: share of closures with at most `CLOSED_SHARE_OF_REAL` left open.
    """

    count: int
    depth: float
    closed: float


@dataclass(frozen=True)
class SilenceLeak:
    """How much a mouth moves where there is no speech, and how much where there is.

    Attributes:
        leak: speed of the opening in silence over the real mouth's speed in speech; 0 is still.
        articulation: speed in speech over the real mouth's: 1 is right. A frozen mouth has leak 0 and articulation 0:
            neither number means anything without the other.
    """

    leak: float
    articulation: float


def opening_range(opening: torch.Tensor) -> tuple[float, float]:
    """Closed and open level of openings [T]: the 5 % and 95 % quantiles."""
    low, high = torch.quantile(opening.double(), torch.tensor([TAIL, 1 - TAIL], dtype=torch.float64)).tolist()
    return low, high


def opening_ratio(drawn: torch.Tensor, real: torch.Tensor) -> float:
    """How far a mouth goes from closed to open, over the real one's way: range of openings [T]; 1 is right.

    Range, not mean: a mouth held half open has a right mean and a ratio near 0. NaN where the real mouth stays still
    (less than a hundredth of the eye distance).
    """
    (low, high), (real_low, real_high) = opening_range(drawn), opening_range(real)
    return (high - low) / (real_high - real_low) if real_high - real_low > 0.01 else float("nan")


def closures(
    drawn: torch.Tensor, real: torch.Tensor, seconds: torch.Tensor, phones: Sequence[tuple[float, float]]
) -> Closures | None:
    """Closure depth at bilabials, after the closure criterion of visual speech synthesis (Cohen & Massaro 1993).

    Args:
        drawn: openings [T].
        real: openings [T] of the real mouth; its range is the unit, its most closed level is 0.
        seconds: [T] on the sound's clock.
        phones: (start, end) of each p b m, seconds on that clock; see `closure_times`.

    Returns:
        None where no phone has a frame near it, or the real mouth stays still.
    """
    low, high = opening_range(real)
    near = [
        (seconds >= start - CLOSURE_MARGIN_SECONDS) & (seconds <= end + CLOSURE_MARGIN_SECONDS) for start, end in phones
    ]
    left = [float((drawn[frames].min() - low) / (high - low)) for frames in near if frames.any() and high - low > 0.01]
    if not left:
        return None
    return Closures(len(left), float(np.mean(left)), float(np.mean(np.array(left) <= CLOSED_SHARE_OF_REAL)))


def closure_times(labels: np.ndarray) -> list[tuple[float, float]]:
    """Start and end (seconds) of each p b m in phone labels [T] at `LABEL_RATE` (`prior.speech.phonemes`)."""
    inside = np.concatenate([[False], np.isin(labels, CLOSED), [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(inside)).reshape(-1, 2)
    return [(start / LABEL_RATE, end / LABEL_RATE) for start, end in edges.tolist()]


def opening_speed(opening: torch.Tensor, seconds: torch.Tensor) -> torch.Tensor:
    """Speed of openings [T], eye distances a second, [T − 1]."""
    return opening.diff().abs() / seconds.diff().clamp(min=1e-3).to(opening.dtype)


def silence_leak(
    drawn: torch.Tensor, real_speech_speed: float, seconds: torch.Tensor, speech: torch.Tensor
) -> SilenceLeak:
    """Movement in silence beside movement in speech.

    Args:
        drawn: openings [T].
        real_speech_speed: mean `opening_speed` of the person's real mouth while talking, the unit of both numbers.
        seconds: [T].
        speech: bool [T], where there is speech (`prior.motion.closures.speech_gate` above a half).

    Returns:
        NaN where the clip holds no silence, or no speech.
    """
    speed = opening_speed(drawn, seconds)
    both, neither = speech[1:] & speech[:-1], ~speech[1:] & ~speech[:-1]
    unit = max(real_speech_speed, 1e-6)
    return SilenceLeak(float(speed[neither].mean()) / unit, float(speed[both].mean()) / unit)


def landmark_distance(drawn: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lip-landmark distance LMD (Chen et al. 2018): in px of the picture, and in eye distances of the real face.

    Each set of lip points is taken from its own mean, so that head pose and place do not count. 40 points of the face
    mesh's lips stand for that paper's 20 (48 to 67 of 68).

    Args:
        drawn: landmarks [T, 468 or more, 2] px.
        real: [T, 468 or more, 2] px.

    Returns:
        Two [T].
    """
    points = [landmarks[:, list(LIP_POINTS), :2] for landmarks in (drawn, real)]
    drawn_lips, real_lips = (lips - lips.mean(1, keepdim=True) for lips in points)
    distance = (drawn_lips - real_lips).norm(dim=-1).mean(1)
    return distance, distance / eye_distance(real[..., :2])
