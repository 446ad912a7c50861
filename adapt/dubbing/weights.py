"""Weights: how much of the dub each frame takes, and why where that is not all of it.

A mouth is handed over in two steps, within a shot, never across a cut: beside a gap the driven motion first glides to
the source's own while the mouth drawn is still whole, then the drawn mouth, which now moves as the source's does, fades
to it. So no frame shows two mouths. A head that turns beyond what the actor was fitted at is handed over by its angle
in the same way. Times are seconds, angles degrees as of `render.head.camera.head_turn`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from adapt.dubbing.part import Part
from render.head.camera import head_turn
from render.head.track import Track

#: Confidence from which a frame is dubbed, others pass through; less than learning asks for (`Track.sure`).
LEAST_TO_DUB = 0.4
#: How long the handing over beside a gap takes, and which part of it, next to the gap, is the fade.
HANDOVER_SECONDS, FADE_PART = 0.24, 0.5
#: How far beyond the fitted pose a face may turn before it is handed over, and over which angle; degrees.
POSE_MARGIN_DEGREES, POSE_FADE_DEGREES = 12.0, 8.0
#: What would show less of the drawn mouth shows none: 8 bit hardly hold it.
LEAST_WEIGHT = 1 / 64
#: What a frame may be; "passed through" is outside of what was asked for.
STATUS = (
    "dubbed",
    "partly dubbed",
    "passed through",
    "not driven",
    "turned too far",
    "low confidence",
    "occluded",
    "out of the picture",
    "no face",
)
DUBBED, PARTLY, PASSED, UNDRIVEN, TURNED, LOW, OCCLUDED, OUTSIDE, NO_FACE = STATUS
#: What a frame is called that nobody is dubbed in, the first that holds for anyone.
MOST_TELLING = OCCLUDED, TURNED, LOW, OUTSIDE, UNDRIVEN, PASSED, NO_FACE


@dataclass(frozen=True)
class Handover:
    """What every frame takes of one part's mouth.

    Attributes:
        weight: [T] in [0, 1] of the drawn mouth; exactly 0 where the frame cannot be dubbed.
        motion: [T] in [0, 1] of the driven motion in it; the rest is the source's own.
        reason: per frame the word of `STATUS` for why one of them is below 1; empty where both are 1.
    """

    weight: torch.Tensor
    motion: torch.Tensor
    reason: list[str]

    def status(self, frame: int) -> str:
        """What a frame is as far as this part goes, a word of `STATUS`."""
        if not self.reason[frame]:
            return DUBBED
        return PARTLY if float(self.weight[frame]) > 0 else self.reason[frame]


def nearest_gap(usable: torch.Tensor, shot: torch.Tensor, timestamps: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """How far each frame is from a frame of its shot that cannot be dubbed, and which that is.

    Args:
        usable: [T] bool; frames that can be dubbed.
        shot: [T] shot index.
        timestamps: [T] seconds.

    Returns:
        [T] seconds, 0 exactly on unusable frames, infinite in a shot without any; [T] int64, the frame, −1 for none.
        Nothing is near a cut: the shot begins or ends there, and a ramp would show the old mouth.
    """
    distance = torch.full((len(usable),), math.inf, dtype=torch.float64)
    frame = torch.full((len(usable),), -1)
    for index in torch.unique(shot).tolist():
        rows = torch.nonzero(shot == index).flatten()
        gaps = rows[~usable[rows]]
        if len(gaps) == 0:
            continue
        # The nearest gap before or after; a table of all pairs would not fit a long shot.
        times = timestamps[gaps].double()
        after = torch.searchsorted(times, timestamps[rows].double())
        near = torch.stack([(after - 1).clamp(min=0), after.clamp(max=len(gaps) - 1)])
        away = (timestamps[rows].double() - times[near]).abs()
        nearer = away.argmin(0, keepdim=True)
        distance[rows] = away.gather(0, nearer)[0]
        frame[rows] = gaps[near.gather(0, nearer)[0]]
    return distance, frame


def pose_limits(part: Part) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest and largest yaw and pitch that the actor was fitted at, [2] degrees each; infinite where not known."""
    ranges = [part.bundle.pose_range.get(name, (-math.inf, math.inf)) for name in ("yaw", "pitch")]
    low, high = torch.tensor(ranges, dtype=torch.float32).T
    return low, high


def beyond_fit(track: Track, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """How far yaw and pitch lie beyond limits [2] in every frame, degrees [T, 2]; 0 inside."""
    turn = head_turn(track.rotation)
    return torch.maximum(low - turn, turn - high).clamp(min=0)


def pose_places(beyond: torch.Tensor) -> torch.Tensor:
    """1 up to `POSE_MARGIN_DEGREES` beyond the fit, falling to 0 over the next `POSE_FADE_DEGREES`; [T] of [T, 2]."""
    return (1 - (beyond.amax(-1) - POSE_MARGIN_DEGREES) / POSE_FADE_DEGREES).clamp(0, 1)


def hand_over(part: Part, hidden: torch.Tensor | None = None) -> Handover:
    """How each frame takes a part's mouth; none where it is `hidden` [T] (bool), half out, not sure or turned away."""
    track = part.track
    turned = pose_places(beyond_fit(track, *pose_limits(part)))
    covered = torch.zeros_like(part.driven) if hidden is None else hidden
    seen = track.confidence > 0
    asked = part.driven if part.wanted is None else part.wanted
    # The first that holds is told.
    hindrances = (
        (PASSED, ~asked),
        (NO_FACE, ~seen),
        (OUTSIDE, ~part.in_picture),
        (OCCLUDED, covered),
        (TURNED, turned <= 0),
        (LOW, track.confidence < LEAST_TO_DUB),
        (UNDRIVEN, ~part.driven),
    )
    hinders = torch.stack([mask for _, mask in hindrances])
    usable, first = ~hinders.any(0), hinders.int().argmax(0)
    away, gap = nearest_gap(usable, track.shot, track.timestamps)
    by_time = (away / HANDOVER_SECONDS).clamp(0, 1).float()
    place = torch.minimum(by_time, turned)
    weight = _eased(place / FADE_PART)
    motion = _eased((place - FADE_PART) / (1 - FADE_PART))
    weight[weight < LEAST_WEIGHT] = 0
    for rows in _stretches(weight > 0, track.shot):
        if float(motion[rows].max()) == 0:  # too short to say anything: the source is better
            weight[rows] = 0
    by_pose = usable & (turned <= by_time)
    words = [hindrances[number][0] for number in first[gap.clamp(min=0)].tolist()]
    reason = [
        "" if is_whole else TURNED if is_turned else word
        for is_whole, is_turned, word in zip((place >= 1).tolist(), by_pose.tolist(), words, strict=True)
    ]
    return Handover(weight, motion, reason)


def _eased(place: torch.Tensor) -> torch.Tensor:
    """A raised cosine from 0 to 1: no visible start or stop."""
    return (0.5 - 0.5 * torch.cos(math.pi * place.clamp(0, 1))).float()


def _stretches(marked: torch.Tensor, shot: torch.Tensor) -> list[slice]:
    """Runs of marked frames [T], none across a cut."""
    stretches, start = [], 0
    for frame in range(1, len(marked) + 1):
        if frame == len(marked) or marked[frame] != marked[start] or shot[frame] != shot[start]:
            if marked[start]:
                stretches.append(slice(start, frame))
            start = frame
    return stretches


def frame_status(handovers: Sequence[Handover]) -> list[str]:
    """One word a frame for all parts: dubbed where all are who are there and asked for, partly where somebody is."""
    words = []
    for frame in range(len(handovers[0].reason)):
        states = {handover.status(frame) for handover in handovers}
        if DUBBED in states and states <= {DUBBED, PASSED, UNDRIVEN, NO_FACE}:
            words.append(DUBBED)
        elif states & {DUBBED, PARTLY}:
            words.append(PARTLY)
        else:
            words.append(next(word for word in MOST_TELLING if word in states))
    return words
