"""Weights: how much of the dub each frame takes, and the word for what a frame is.

Ramps beside gaps, never across a cut; a fade beyond the pose that the actor was fitted at. Times are seconds.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from adapt.dubbing.part import Part
from render.compositing.occlusion import Occlusion

#: Confidence from which a frame is dubbed, others pass through; less than learning asks for (`Track.sure`).
LEAST_TO_DUB = 0.4
RAMP_SECONDS = 0.16
#: How far beyond the fitted pose a face may turn before it fades to the source, and over which angle; degrees.
POSE_MARGIN_DEGREES, POSE_FADE_DEGREES = 12.0, 8.0
#: What a frame may be.
STATUS = "dubbed", "passed through", "low confidence", "occluded", "out of the picture"
DUBBED, PASSED, LOW, OCCLUDED, OUTSIDE = STATUS


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


def part_weights(part: Part, hidden: torch.Tensor | None = None) -> torch.Tensor:
    """How much of a part's mouth each frame takes, [T] in [0, 1]; none where it is `hidden` [T] (bool) or half out."""
    track = part.track
    usable = (track.confidence >= LEAST_TO_DUB) & part.driven & part.in_picture
    if hidden is not None:
        usable &= ~hidden
    ramp = blend_weights(usable, track.shot, track.timestamps, RAMP_SECONDS)
    low, high = torch.full((3,), -torch.inf), torch.full((3,), torch.inf)
    margin = torch.tensor(POSE_MARGIN_DEGREES)
    for axis, name in ((1, "yaw"), (0, "pitch")):
        if name in part.bundle.pose_range:
            low[axis] = torch.deg2rad(part.bundle.pose_range[name][0] - margin)
            high[axis] = torch.deg2rad(part.bundle.pose_range[name][1] + margin)
    return ramp * pose_weights(track.rotation, low, high, float(np.deg2rad(POSE_FADE_DEGREES)))


def frame_status(
    parts: Sequence[Part], weights: torch.Tensor, occlusions: Sequence[Occlusion | None] = ()
) -> list[str]:
    """One word a frame: dubbed where any part is drawn at all, else why not."""
    hidden = [occlusion.hidden for occlusion in occlusions if occlusion is not None]
    words = []
    for index in range(weights.shape[1]):
        confidences = [float(part.track.confidence[index]) for part in parts]
        if float(weights[:, index].max()) > 0:
            words.append(DUBBED)
        elif any(bool(mask[index]) for mask in hidden):
            words.append(OCCLUDED)
        elif any(value > 0 and not part.in_picture[index] for value, part in zip(confidences, parts, strict=True)):
            words.append(OUTSIDE)
        elif any(0 < value < LEAST_TO_DUB for value in confidences):
            words.append(LOW)
        else:
            words.append(PASSED)
    return words
