"""From landmarks to a track: shape, focal, and per frame head pose and expression.

In: one person's detector landmarks in every frame of a video, and how the skin moves from frame to frame, read a
stretch at a time. Out: a `Track`. Shape comes from a bounded number of chosen frames; head pose from points that the
jaw does not move, mended by their skin's motion, less what follows the jaw all the same; then expression with the pose
held. All run in overlapping windows of frames, so memory does not grow and where a window ends is not seen. `track`
does it for everyone in a video, and writes a file a person.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from adapt.cast.analyse import Analysis, analyse, everyone
from adapt.cast.faces import is_upside_down
from adapt.cast.suitability import how_to_turn
from adapt.device import one_thread
from adapt.output import refuse_files, refuse_unwritable
from adapt.progress import SILENT, Progress
from adapt.tracking.crop import choose_crop_size, crop_from_path, crop_path, smooth_path
from adapt.tracking.head_model import HeadFit, residual_of, translation_of
from adapt.tracking.head_solvers import first_pose, solve_expression, solve_pose, solve_shape
from adapt.tracking.jaw_leak import without_jaw_leak
from adapt.tracking.overlay import write_overlay
from adapt.tracking.pose_from_flow import carried_pose, pose_steps, steady_pose
from adapt.tracking.sightings import Seen, Sightings, read_rows, solve_windows
from prior.face.model import load_face_model
from prior.face.points import lip_gap
from render.errors import TrackingError
from render.head.camera import rotation_matrix
from render.head.face_model import FaceModel
from render.head.track import Track
from render.text import printable
from render.video.reader import Footage

#: What is written for a person.
OF_PERSON = re.compile(r"([1-9][0-9]*)\.(?:track\.safetensors|overlay\.mp4)")
#: Frames among which the `CHOSEN_FRAMES` are chosen that shape is found from.
CANDIDATES = 256
CHOSEN_FRAMES = 32
#: Where nothing says otherwise a face is this far away, cm, and no lens is wider than this times the longer side.
FACE_DISTANCE_CM = 100.0
LEAST_FOCAL = 1.2
#: A mean residual (share of the eye distance) at which the fit is not to be trusted.
BAD_RESIDUAL = 0.04


@dataclass(frozen=True)
class Tracked:
    """What was tracked in a video, by cast number.

    Attributes:
        tracks: of those who could be tracked.
        files: where each of them was written; empty where nothing was to be.
        left_out: why the others could not.
    """

    tracks: dict[int, Track]
    files: dict[int, Path]
    left_out: dict[int, str]


def track(
    footage: Footage | Path,
    person: int | None = None,
    out: Path | None = None,
    *,
    overlay: bool = False,
    progressive: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Tracked:
    """Track everyone in a video, or one person.

    Args:
        footage: the video.
        person: cast number of the one person; default everyone.
        out: folder for PERSON.track.safetensors, each written as soon as it is done; default none.
        overlay: also write PERSON.overlay.mp4 there: mesh, uv grid, crop, confidence.
        overwrite: replace tracks and overlays of the folder, each as soon as there is a new one; in the end those of
            numbers that the cast has not are removed, unless one person alone was tracked.
        progressive: see `Footage`, where that is a path.
        progress: where the bar goes.

    Raises:
        OutputError: the folder holds tracks already, is a file, or cannot be written to.
        TrackingError: no face, or no such person.
        ValueError: an overlay is wanted, but no folder given.
    """
    if overlay and out is None:
        raise ValueError("track(): 'overlay' needs 'out', the folder to write to")
    if out is not None:
        refuse_files(out, [path.name for path in _made(out)], overwrite)
        refuse_unwritable(out / "1.track.safetensors")
    footage = footage if isinstance(footage, Footage) else Footage(footage, progressive)
    analysis = analyse(footage, progress=progress)
    numbers = everyone(analysis)
    if person is not None:
        numbers = [analysis.member(person).number]
    tracked = Tracked({}, {}, {})
    for number in progress.over("tracking", numbers, len(numbers)):
        try:
            person_track = track_person(analysis, number)
        except TrackingError as error:
            tracked.left_out[number] = str(error)
            continue
        tracked.tracks[number] = person_track
        if out is None:
            continue
        tracked.files[number] = out / f"{number}.track.safetensors"
        person_track.save(tracked.files[number])
        if overlay:
            write_overlay(footage, load_face_model(), person_track, out / f"{number}.overlay.mp4", progress)
    if out is not None and person is None:
        for path, number in _made(out).items():
            if number not in numbers:  # of another video, whose people these are not
                path.unlink()
    return tracked


def _made(out: Path) -> dict[Path, int]:
    """Tracks and overlays in a folder, and the person that each is of; a file of another name is not ours."""
    found = {path: OF_PERSON.fullmatch(path.name) for path in sorted(out.glob("*"))}
    return {path: int(match[1]) for path, match in found.items() if match}


@one_thread()
def track_landmarks(model: FaceModel, sightings: Sightings) -> Track:
    """Track one person through a video.

    Raises:
        TrackingError: the person is in fewer than two frames.
    """
    fit, seen = HeadFit.of(model), Seen.of(sightings, model)
    (width, height), timestamps, shot = sightings.size, sightings.timestamps, sightings.shot
    shape, focals = find_shape(fit, seen, LEAST_FOCAL * max(width, height))
    pose = find_pose(fit, seen, shape, focals)
    expression, residual = find_expression(fit, seen, shape, pose, focals)
    confidence = confidence_of(sightings.confidence.double(), residual, pose)
    held = nearest_found(seen.rows, shot)
    pose, expression = pose[held], expression[held]
    # The crop follows from what the track stores, so that the last bits of the solver's float64 do not reach it.
    shape, focals = shape.float(), focals.float()
    rotation, translation = pose[:, :3].float(), translation_of(pose).float()
    path = crop_path(model, shape, (rotation.double(), translation.double()), focals, (width / 2, height / 2))
    path = smooth_path(path, timestamps, shot)
    crop_size = choose_crop_size(path, confidence)
    return Track(
        width=width,
        height=height,
        timestamps=timestamps,
        shot=shot,
        confidence=confidence.float(),
        shape=shape,
        focal_px=focals,
        rotation=rotation,
        translation=translation,
        lower_expression=expression[:, : fit.lower_count].float(),
        upper_expression=expression[:, fit.lower_count :].float(),
        crop_from_image=crop_from_path(path, crop_size),
        crop_size=crop_size,
        source=sightings.source,
    )


def find_pose(fit: HeadFit, seen: Seen, shape: torch.Tensor, focals: torch.Tensor) -> torch.Tensor:
    """Poses [T, 6] of a shape [S] at focals [T] px: mended by the skin, less what follows the jaw; 0 without a face."""

    def solve(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        part, start = seen.first(fit, rows, focals[rows])
        return solve_pose(fit, part, shape, start), lip_gap(part.points) / part.eye_distance

    rows, timestamps, shot = seen.rows, seen.sightings.timestamps, seen.sightings.shot
    pose, gap = solve_windows(seen, solve)
    pose[rows] = mended_pose(fit, seen, shape, pose, focals)
    pose[rows] = without_jaw_leak(pose[rows], gap[rows], timestamps[rows], shot[rows])
    return pose


def mended_pose(
    fit: HeadFit, seen: Seen, shape: torch.Tensor, pose: torch.Tensor, focals: torch.Tensor
) -> torch.Tensor:
    """Poses [N, 6] of the rows with a face that move as the skin does; from the detector's [T, 6]."""
    rows, timestamps, shot = seen.rows, seen.sightings.timestamps, seen.sightings.shot
    read_flow = seen.sightings.read_flow
    if read_flow is None:
        return pose[rows]

    def solve(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        both = torch.stack([pose[rows - 1], pose[rows]])
        return pose_steps(fit, read_rows(read_flow, rows), shape, both, focals[rows])

    steps, trust = solve_windows(seen, solve, margin=0)
    trust[1:] *= (shot[1:] == shot[:-1]) & torch.isin(torch.arange(len(pose) - 1), rows)
    carried = torch.zeros_like(pose)
    carried[rows] = carried_pose(pose[rows], steps[rows], trust[rows], timestamps[rows])
    (steady,) = solve_windows(seen, lambda rows: (steady_pose(carried[rows], timestamps[rows]),))
    return steady[rows]


def find_expression(
    fit: HeadFit, seen: Seen, shape: torch.Tensor, pose: torch.Tensor, focals: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Expressions [T, E] at poses [T, 6], and the mesh's mean distance from the points [T], share of the eye distance.

    Both are 0 where no face was found.
    """

    def solve(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        part = seen.again(rows, focals[rows], pose[rows])
        expression = solve_expression(fit, part, shape, pose[rows])
        return expression, residual_of(fit, part, shape, pose[rows], expression)

    return solve_windows(seen, solve)


def find_shape(fit: HeadFit, seen: Seen, least_focal: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The person's shape [S] and every frame's focal [T] px, constant within a shot.

    A shot's focal starts where its face is at `FACE_DISTANCE_CM` (a crop of a wider picture looks like a long lens),
    and all shots' are scaled by one factor that the chosen frames agree on.
    """
    shot = seen.sightings.shot
    candidates = seen.rows[torch.linspace(0, len(seen.rows) - 1, min(CANDIDATES, len(seen.rows))).round().long()]
    points = seen.landmarks(candidates)
    per_cm = first_pose(fit, points, torch.ones(len(points), dtype=torch.float64))[:, 5].neg().exp()  # px per cm
    focals = torch.full((len(shot),), least_focal, dtype=torch.float64)
    for number in shot.unique():
        in_shot = per_cm[shot[candidates] == number]
        # A shot that is too short to be among the candidates goes by the whole.
        typical = (in_shot if len(in_shot) else per_cm).median()
        focals[shot == number] = max(least_focal, FACE_DISTANCE_CM * float(typical))
    chosen = candidates[choose_frames(points[..., :2])]
    part, pose = seen.first(fit, chosen, focals[chosen])
    shape, factor = solve_shape(fit, part, pose)
    return shape, focals * factor


def choose_frames(points: torch.Tensor) -> torch.Tensor:
    """Up to `CHOSEN_FRAMES` rows of points [N, V, 2] that differ most from each other, farthest first, then sorted.

    The difference is that of the points less place and size.
    """
    form = points - points.mean(1, keepdim=True)
    form = (form / form.norm(dim=(1, 2), keepdim=True)).flatten(1)
    away = (form - form.median(0).values).norm(dim=-1)
    # The strangest twentieth is more likely a failure of the detector than a rare pose.
    usual = (away <= away.quantile(0.95)).nonzero()[:, 0]
    form = form[usual]
    chosen = [int(away[usual].argmin())]
    distance = (form - form[chosen[0]]).norm(dim=-1)
    while len(chosen) < min(CHOSEN_FRAMES, len(usual)):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (form - form[chosen[-1]]).norm(dim=-1))
    return usual[chosen].sort().values


def nearest_found(rows: torch.Tensor, shot: torch.Tensor) -> torch.Tensor:
    """For every frame the nearest of `rows`, of the same shot where it has any: int64 [T]."""
    every = torch.arange(len(shot))
    after = torch.searchsorted(rows, every).clamp(max=len(rows) - 1)
    pair = rows[torch.stack([(after - 1).clamp(min=0), after])]  # [2, T]
    distance = (pair - every).abs() + 2 * len(shot) * (shot[pair] != shot)
    return torch.where(distance[0] < distance[1], pair[0], pair[1])


def confidence_of(confidence: torch.Tensor, residual: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """Confidence [T]: the detector's, less where the mesh does not fit the points or the head is turned away.

    Args:
        confidence: [T] of the detector.
        residual: [T] share of the eye distance.
        pose: [T, 6].
    """
    facing = rotation_matrix(pose[:, :3])[:, 2, 2]  # cosine between the way the face looks and the camera
    turned = ((facing - 0.45) / 0.35).clamp(0, 1)  # past 45° the detector's far side and its lips are guessed
    fits = torch.exp(-((residual / BAD_RESIDUAL) ** 2))
    return torch.where(confidence > 0, (confidence * turned * fits).clamp(min=0.01), torch.zeros_like(confidence))


def track_person(analysis: Analysis, person: int) -> Track:
    """Track one cast member through the analysed footage; where the face is upside down it counts as not found.

    Raises:
        TrackingError: no such person, in fewer than two frames, or upside down throughout.
    """
    footage = analysis.footage
    confidence = np.zeros(footage.frame_count, np.float32)
    member = analysis.member(person)
    stands = ~is_upside_down(member.values("roll"))
    if not stands.any():
        raise TrackingError(f"{footage.path}: person {person} is upside down; {how_to_turn(footage.path, 180)}")
    confidence[member.values("frames")] = np.where(stands, member.values("confidence"), 0)
    sightings = Sightings(
        confidence=torch.from_numpy(confidence),
        timestamps=torch.from_numpy(footage.timestamps),
        shot=torch.from_numpy(analysis.shot_of_frame()),
        size=(footage.width, footage.height),
        source={"file": printable(footage.path.name), "sha256": footage.sha256, "person": person},
        read_landmarks=lambda start, stop: torch.from_numpy(analysis.landmarks(person, start, stop)[0]),
        read_flow=lambda start, stop: torch.from_numpy(analysis.flow(person, start, stop)),
    )
    return track_landmarks(load_face_model(), sightings)
