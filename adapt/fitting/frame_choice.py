"""Enrollment: which frames of an actor's footage a fit learns from, which it is judged on, and what they never show.

In: tracks of the actor. Out: per clip, frame numbers to learn from and held-out frame numbers, with a gap between them.
Mouth shapes count, not seconds: where there is more footage than wanted, frames are chosen to cover them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from adapt.cast.suitability import (
    CLOSED_OPENING,
    HALF_OPENING,
    LARGEST_YAW_DEGREES,
    SHORTEST_SECONDS,
    SMALLEST_EYE_DISTANCE_PX,
    WIDE_OPENING,
)
from adapt.tracking.in_picture import WINDOW, mouth_in_picture
from prior.face.points import EYE_DISTANCE_CM, LIPS_OUTER, eye_distance, opening
from render.errors import FitError
from render.head.camera import head_turn
from render.head.face_model import FaceModel
from render.head.track import Track

#: Part of the enrollment that judges the fit, and the gap around it.
#: Learning from that part as well was tried: no gain, and nothing unseen would be left to judge by.
HELD_OUT_PART = 0.1
HELD_OUT_GAP_SECONDS = 0.1
MOST_HELD_OUT = 150
#: No fit learns from more frames than this.
MOST_FRAMES = 400


@dataclass(frozen=True)
class ChosenFrames:
    """Frames chosen from one or several clips.

    Attributes:
        learn: per clip, int64 frame numbers, increasing.
        held_out: per clip, int64 frame numbers, increasing; no fit sees them.
        seconds: footage learnt from.
        never_seen: what the chosen frames do not show, in words.
        pose_range: {"yaw": [low, high], "pitch": [low, high]} of the chosen frames, degrees, see `head_turn`.
    """

    learn: list[torch.Tensor]
    held_out: list[torch.Tensor]
    seconds: float
    never_seen: list[str]
    pose_range: dict[str, list[float]]


def mouth_shape(model: FaceModel, track: Track, rows: torch.Tensor) -> torch.Tensor:
    """Opening and width of the mouth in frames `rows` [N], [N, 2], in eye distances of the actor."""
    shapes = [torch.zeros(0, 2)]
    for some in rows.split(WINDOW):
        vertices = model.vertices(track.shape, track.lower_expression[some])
        width = (vertices[:, LIPS_OUTER[10]] - vertices[:, LIPS_OUTER[0]]).norm(dim=-1)
        shapes.append(torch.stack([opening(vertices), width / eye_distance(vertices)], -1))
    return torch.cat(shapes)


def choose_enrollment(
    model: FaceModel, tracks: Sequence[Track], names: Sequence[str], seconds: float | None = None
) -> ChosenFrames:
    """Choose frames to learn from and to be judged on.

    Args:
        model: the face model of the tracks.
        tracks: one a clip, of the same person.
        names: the clips' names, for messages.
        seconds: how much footage to learn from; the frames that cover mouth shapes and poses best are taken. None takes
            all there is, up to `MOST_FRAMES` frames.

    Raises:
        FitError: the footage cannot be learnt from; says what is missing and how to choose other footage.
    """
    usable = [_usable(model, track, name) for track, name in zip(tracks, names, strict=True)]
    available = sum(len(rows) * track.frame_seconds for track, rows in zip(tracks, usable, strict=True))
    if available < SHORTEST_SECONDS:
        raise FitError(
            f"{', '.join(names)}: {available:.1f} s of usable footage, at least {SHORTEST_SECONDS} s are needed "
            "(the person facing the camera, mouth and chin in the picture and unobstructed); `adapt check` shows "
            "what is usable"
        )
    shapes = [mouth_shape(model, track, rows) for track, rows in zip(tracks, usable, strict=True)]
    _refuse_stills(names, shapes, tracks, usable)
    learn, held_out = [], []
    for track, rows in zip(tracks, usable, strict=True):
        first, last = _split(track, rows)
        learn.append(first)
        held_out.append(last)
    features = torch.cat(
        [
            _features(shape[torch.isin(all_rows, rows)], track, rows)
            for shape, track, all_rows, rows in zip(shapes, tracks, usable, learn, strict=True)
        ]
    )
    wanted = len(features) if seconds is None else round(len(features) * min(1.0, seconds / max(available, 1e-6)))
    keep = _cover(features, max(min(wanted, MOST_FRAMES), 2))
    chosen, start = [], 0
    for rows in learn:
        mine = keep[(keep >= start) & (keep < start + len(rows))] - start
        chosen.append(rows[mine])
        start += len(rows)
    return describe_enrollment(model, tracks, chosen, held_out)


def describe_enrollment(
    model: FaceModel, tracks: Sequence[Track], learn: list[torch.Tensor], held_out: list[torch.Tensor]
) -> ChosenFrames:
    """What frames to learn from and held-out ones, by clip, make up; arguments as in `ChosenFrames`."""
    shapes = [mouth_shape(model, track, rows) for track, rows in zip(tracks, learn, strict=True)]
    seconds = sum(len(rows) * track.frame_seconds for track, rows in zip(tracks, learn, strict=True))
    return ChosenFrames(
        learn, held_out, seconds, _never_seen(torch.cat(shapes), tracks, learn), _pose_range(tracks, learn)
    )


def _usable(model: FaceModel, track: Track, name: str) -> torch.Tensor:
    has_face = track.confidence > 0
    if not bool(has_face.any()):
        raise FitError(f"{name}: no face in it; choose footage that shows the actor, or --person for another one")
    depth = track.translation[:, 2]
    eye_px = float((track.focal_px * EYE_DISTANCE_CM / depth)[has_face].median())
    if eye_px < SMALLEST_EYE_DISTANCE_PX:
        raise FitError(
            f"{name}: the face is too small ({eye_px:.0f} px between the eyes, at least "
            f"{SMALLEST_EYE_DISTANCE_PX:.0f} are needed); choose a closer shot of the actor"
        )
    yaw = head_turn(track.rotation)[:, 0].abs()
    if float(yaw[has_face].median()) > LARGEST_YAW_DEGREES:
        raise FitError(
            f"{name}: the actor is seen from the side (yaw {float(yaw[has_face].median()):.0f}°); "
            f"choose footage within {LARGEST_YAW_DEGREES:.0f}° of frontal"
        )
    in_picture = mouth_in_picture(model, track)
    return torch.nonzero(track.sure() & (yaw <= LARGEST_YAW_DEGREES) & in_picture).flatten()


def _refuse_stills(
    names: Sequence[str], shapes: Sequence[torch.Tensor], tracks: Sequence[Track], usable: Sequence[torch.Tensor]
) -> None:
    moving = any(
        float(shape.std(0).max()) > 3e-3 or float(track.rotation[rows].std(0).max()) > 2e-3
        for shape, track, rows in zip(shapes, tracks, usable, strict=True)
        if len(rows) > 1
    )
    if not moving:
        raise FitError(f"{', '.join(names)}: a still picture (nothing moves); footage of the actor talking is needed")


def _split(track: Track, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The end of a clip judges the fit; the gap before it belongs to neither."""
    if not len(rows):
        return rows, rows
    count = min(max(round(len(rows) * HELD_OUT_PART), 3), MOST_HELD_OUT)
    held_out = rows[-count:]
    gap = min(HELD_OUT_GAP_SECONDS, 0.1 * (len(rows) * track.frame_seconds))
    before = track.timestamps[rows] < track.timestamps[held_out[0]] - gap
    return rows[before], held_out


def _features(shape: torch.Tensor, track: Track, rows: torch.Tensor) -> torch.Tensor:
    """Opening, width, yaw and pitch of frames [N, 4], scaled so that 1 is about the smallest visible step."""
    pose = track.rotation[rows][:, [1, 0]]
    return torch.cat([shape / torch.tensor([0.05, 0.05]), pose / math.radians(8.0)], -1)


def _cover(features: torch.Tensor, count: int) -> torch.Tensor:
    """Farthest-point choice of `count` rows (Gonzalez 1985), sorted; starts at the most open mouth."""
    if count >= len(features):
        return torch.arange(len(features))
    chosen = [int(features[:, 0].argmax())]
    distance = (features - features[chosen[0]]).norm(dim=-1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (features - features[chosen[-1]]).norm(dim=-1))
    return torch.tensor(sorted(set(chosen)))


def _never_seen(shape: torch.Tensor, tracks: Sequence[Track], chosen: Sequence[torch.Tensor]) -> list[str]:
    yaw = torch.cat([head_turn(track.rotation[rows])[:, 0] for track, rows in zip(tracks, chosen, strict=True)])
    gap, width = shape.unbind(-1)
    usual, half = float(width.median()), HALF_OPENING
    missing = []
    if float(gap.max()) < WIDE_OPENING:
        missing.append("no open vowel (wide-open mouth)")
    if not bool(((gap > half[0]) & (gap < half[1])).any()):
        missing.append("no half-open mouth (teeth)")
    if float(gap.min()) > CLOSED_OPENING:
        missing.append("no closed lips")
    if float(width.min()) > usual * 0.93:
        missing.append("no rounded lips")
    missing.append(f"no yaw outside {float(yaw.min()):+.0f}° … {float(yaw.max()):+.0f}°")
    return missing


def _pose_range(tracks: Sequence[Track], chosen: Sequence[torch.Tensor]) -> dict[str, list[float]]:
    turn = torch.cat([head_turn(track.rotation[rows]) for track, rows in zip(tracks, chosen, strict=True)])
    return {
        name: [round(float(turn[:, axis].min()), 2), round(float(turn[:, axis].max()), 2)]
        for axis, name in enumerate(("yaw", "pitch"))
    }
