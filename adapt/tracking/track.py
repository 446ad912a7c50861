"""From landmarks to a track: shape, focal, and per frame head pose and expression.

In: one person's detector landmarks in every frame of a video, and how the skin moves from frame to frame, read a
stretch at a time. Out: a `Track`. Shape comes from a bounded number of chosen frames; head pose from points that the
jaw does not move, mended by their skin's motion, less what follows the jaw all the same; then expression with the pose
held. All run in overlapping windows of frames, so memory does not grow and where a window ends is not seen.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from adapt.cast.analyse import Analysis, analyse, choose_person
from adapt.progress import SILENT, Progress
from adapt.tracking.crop import choose_crop_size, crop_from_path, crop_path, smooth_path
from adapt.tracking.head_model import HeadFit, Observations, residual_of, translation_of
from adapt.tracking.head_solvers import first_pose, solve_expression, solve_pose, solve_shape
from adapt.tracking.jaw_leak import without_jaw_leak
from adapt.tracking.pose_from_flow import carried_pose, pose_steps, steady_pose
from prior.face.model import load_face_model
from prior.face.points import EYE_DISTANCE_CM, lip_gap
from render.errors import TrackingError
from render.head.camera import rotation_matrix
from render.head.face_model import FaceModel
from render.head.track import Track
from render.video.footage import Footage

#: Reads frames start ≤ index < stop: landmarks, float [stop − start, ≥ 468, 3] px and depth, where frames without a
#: face hold anything; or the motion of the rigid points' skin since the frame before, [stop − start, K, 2] px or NaN.
LandmarkReader = Callable[[int, int], torch.Tensor]
#: Frames among which the `CHOSEN_FRAMES` are chosen that shape is found from.
CANDIDATES = 256
CHOSEN_FRAMES = 32
#: Frames solved together, of which `MARGIN` more at either side only lend support.
WINDOW = 128
MARGIN = 16
#: Where nothing says otherwise a face is this far away, cm, and no lens is wider than this times the longer side.
FACE_DISTANCE_CM = 100.0
LEAST_FOCAL = 1.2
#: A mean residual (share of the eye distance) at which the fit is not to be trusted.
BAD_RESIDUAL = 0.04


@dataclass(frozen=True)
class Seen:
    """The frames in which one person's face was found.

    Attributes:
        rows: [N] int64, ascending.
        read: gives the landmarks; read_flow: the skin's motion, if that is known.
        timestamps: [T] seconds; shot: [T] int32; both of all frames.
        centre: [3] principal point, px, and 0.
        count: detector points that the face model knows.
    """

    rows: torch.Tensor
    read: LandmarkReader
    read_flow: LandmarkReader | None
    timestamps: torch.Tensor
    shot: torch.Tensor
    centre: torch.Tensor
    count: int

    def landmarks(self, rows: torch.Tensor) -> torch.Tensor:
        """Landmarks [N, 468, 3] float64, px from the image centre, of ascending rows [N]."""
        return read_rows(self.read, rows)[:, : self.count].double() - self.centre

    def first(self, fit: HeadFit, rows: torch.Tensor, focal: torch.Tensor) -> tuple[Observations, torch.Tensor]:
        """What was seen in rows [N] with focals [N] px, and first poses [N, 6]."""
        points = self.landmarks(rows)
        pose = first_pose(fit, points, focal)
        return self.observations(points, rows, focal, pose), pose

    def again(self, rows: torch.Tensor, focal: torch.Tensor, pose: torch.Tensor) -> Observations:
        """What was seen in rows [N] whose poses [N, 6] are known."""
        return self.observations(self.landmarks(rows), rows, focal, pose)

    def observations(
        self, points: torch.Tensor, rows: torch.Tensor, focal: torch.Tensor, pose: torch.Tensor
    ) -> Observations:
        """Landmarks [N, 468, 3] of rows [N] at poses [N, 6]."""
        return Observations(points[..., :2], self.timestamps[rows], focal, EYE_DISTANCE_CM * focal / pose[:, 5].exp())


def read_rows(read: LandmarkReader, rows: torch.Tensor) -> torch.Tensor:
    """What a reader gives of ascending rows [N]; reads stretch by stretch."""
    ends = (rows.diff() != 1).nonzero()[:, 0] + 1
    return torch.cat([read(int(part[0]), int(part[-1]) + 1) for part in torch.tensor_split(rows, ends)])


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: matrices are small here, and threads mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def track_landmarks(
    model: FaceModel,
    read: LandmarkReader,
    found: torch.Tensor,
    timestamps: torch.Tensor,
    shot: torch.Tensor,
    size: tuple[int, int],
    source: dict[str, object],
    read_flow: LandmarkReader | None = None,
) -> Track:
    """Track one person through a video.

    Args:
        model: the face model.
        read: gives the detector's landmarks.
        found: [T] in [0, 1], the detector's confidence, 0 where there is no face.
        timestamps: [T] float64 seconds, ascending.
        shot: [T] int32, ascending.
        size: width and height, px.
        source: facts that the track is to carry.
        read_flow: gives the motion of the rigid points' skin; without it poses are the detector's alone.

    Raises:
        TrackingError: the person is in fewer than two frames.
    """
    rows = (found > 0).nonzero()[:, 0]
    if len(rows) < 2:
        name = source.get("file", "footage")
        raise TrackingError(f"{name}: the person is in {len(rows)} of {len(found)} frames; need 2 (see `adapt check`)")
    width, height = size
    fit = HeadFit.of(model)
    centre = torch.tensor([width / 2, height / 2, 0.0], dtype=torch.float64)
    seen = Seen(rows, read, read_flow, timestamps, shot, centre, model.landmark_count)
    shape, focals = find_shape(fit, seen, LEAST_FOCAL * max(width, height))

    pose = torch.zeros(len(found), 6, dtype=torch.float64)
    expression = torch.zeros(len(found), len(fit.every.expression), dtype=torch.float64)
    residual = torch.ones(len(found), dtype=torch.float64)
    gap = torch.zeros(len(found), dtype=torch.float64)
    for solved, kept in windows(rows, shot):
        part, start = seen.first(fit, solved, focals[solved])
        inside = torch.isin(solved, kept)
        pose[kept] = solve_pose(fit, part, shape, start)[inside]
        gap[kept] = (lip_gap(part.points) / part.eye_distance)[inside]
    pose[rows] = mended_pose(fit, seen, shape, pose, focals)
    pose[rows] = without_jaw_leak(pose[rows], gap[rows], timestamps[rows], shot[rows])
    for solved, kept in windows(rows, shot):
        part = seen.again(solved, focals[solved], pose[solved])
        inside = torch.isin(solved, kept)
        own_expression = solve_expression(fit, part, shape, pose[solved])
        expression[kept] = own_expression[inside]
        residual[kept] = residual_of(fit, part, shape, pose[solved], own_expression)[inside]
    confidence = confidence_of(found.double(), residual, pose)
    held = nearest_found(rows, shot)
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
        source=source,
    )


def mended_pose(
    fit: HeadFit, seen: Seen, shape: torch.Tensor, pose: torch.Tensor, focals: torch.Tensor
) -> torch.Tensor:
    """Poses [N, 6] of the rows with a face that move as the skin does; from the detector's [T, 6]."""
    rows = seen.rows
    if seen.read_flow is None:
        return pose[rows]
    steps, trust = torch.zeros_like(pose), torch.zeros(len(pose), dtype=pose.dtype)
    for _, kept in windows(rows, seen.shot):
        flow = read_rows(seen.read_flow, kept)
        both = torch.stack([pose[kept - 1], pose[kept]])
        steps[kept], trust[kept] = pose_steps(fit, flow, shape, both, focals[kept])
    trust[1:] *= (seen.shot[1:] == seen.shot[:-1]) & torch.isin(torch.arange(len(pose) - 1), rows)
    carried, steady = torch.zeros_like(pose), torch.zeros_like(pose)
    carried[rows] = carried_pose(pose[rows], steps[rows], trust[rows], seen.timestamps[rows])
    for solved, kept in windows(rows, seen.shot):
        steady[kept] = steady_pose(carried[solved], seen.timestamps[solved])[torch.isin(solved, kept)]
    return steady[rows]


def find_shape(fit: HeadFit, seen: Seen, least_focal: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The person's shape [S] and every frame's focal [T] px, constant within a shot.

    A shot's focal starts where its face is at `FACE_DISTANCE_CM` (a crop of a wider picture looks like a long lens),
    and all shots' are scaled by one factor that the chosen frames agree on.
    """
    candidates = seen.rows[torch.linspace(0, len(seen.rows) - 1, min(CANDIDATES, len(seen.rows))).round().long()]
    points = seen.landmarks(candidates)
    per_cm = first_pose(fit, points, torch.ones(len(points), dtype=torch.float64))[:, 5].neg().exp()  # px per cm
    focals = torch.full((len(seen.shot),), least_focal, dtype=torch.float64)
    for number in seen.shot.unique():
        own = per_cm[seen.shot[candidates] == number]
        # A shot that is too short to be among the candidates goes by the whole.
        typical = (own if len(own) else per_cm).median()
        focals[seen.shot == number] = max(least_focal, FACE_DISTANCE_CM * float(typical))
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


def windows(rows: torch.Tensor, shot: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Overlapping windows over the rows [N] with a face, none across a cut: (rows solved, rows kept of them)."""
    result = []
    for number in shot[rows].unique():
        own = rows[shot[rows] == number]
        starts = list(range(0, max(1, len(own) - MARGIN), WINDOW))  # a short rest joins the last window
        for start, stop in zip(starts, [*starts[1:], len(own)], strict=True):
            result.append((own[max(0, start - MARGIN) : stop + MARGIN], own[start:stop]))
    return result


def nearest_found(rows: torch.Tensor, shot: torch.Tensor) -> torch.Tensor:
    """For every frame the nearest of `rows`, of the same shot where it has any: int64 [T]."""
    every = torch.arange(len(shot))
    after = torch.searchsorted(rows, every).clamp(max=len(rows) - 1)
    pair = rows[torch.stack([(after - 1).clamp(min=0), after])]  # [2, T]
    distance = (pair - every).abs() + 2 * len(shot) * (shot[pair] != shot)
    return torch.where(distance[0] < distance[1], pair[0], pair[1])


def confidence_of(found: torch.Tensor, residual: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """Confidence [T]: the detector's, less where the mesh does not fit the points or the head is turned away.

    Args:
        found: [T] the detector's.
        residual: [T] share of the eye distance.
        pose: [T, 6].
    """
    facing = rotation_matrix(pose[:, :3])[:, 2, 2]  # cosine between the way the face looks and the camera
    turned = ((facing - 0.45) / 0.35).clamp(0, 1)  # past 45° the detector's far side and its lips are guessed
    fits = torch.exp(-((residual / BAD_RESIDUAL) ** 2))
    return torch.where(found > 0, (found * turned * fits).clamp(min=0.01), torch.zeros_like(found))


def track_person(analysis: Analysis, person: int) -> Track:
    """Track one cast member through the analysed footage."""
    footage = analysis.footage
    found = np.zeros(footage.frame_count, np.float32)
    member = analysis.member(person)
    found[member.values("frames")] = member.values("confidence")
    source: dict[str, object] = {"file": footage.path.name, "sha256": footage.sha256, "person": person}
    return track_landmarks(
        load_face_model(),
        lambda start, stop: torch.from_numpy(analysis.landmarks(person, start, stop)[0]),
        torch.from_numpy(found),
        torch.from_numpy(footage.timestamps),
        torch.from_numpy(analysis.shot_of_frame()),
        (footage.width, footage.height),
        source,
        lambda start, stop: torch.from_numpy(analysis.flow(person, start, stop)),
    )


def track_footage(footage: Footage, person: int | None, advice: str, progress: Progress = SILENT) -> Track:
    """Analyse footage and track the one person that is meant; see `choose_person`."""
    analysis = analyse(footage, progress=progress)
    return track_person(analysis, choose_person(analysis, person, advice))
