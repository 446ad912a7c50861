"""What the detector saw of one person in every frame of a video, and solving it window by window.

In: readers that give landmarks and the skin's motion a stretch at a time. Out: observations of the frames with a face,
and values of every frame, solved in overlapping windows, so memory does not grow and where a window ends is not seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from adapt.tracking.head_model import HeadFit, Observations
from adapt.tracking.head_solvers import first_pose
from prior.face.points import EYE_DISTANCE_CM
from render.errors import TrackingError
from render.head.face_model import FaceModel

#: Reads frames start ≤ index < stop: landmarks, float [stop − start, ≥ 468, 3] px and depth, where frames without a
#: face hold anything; or the motion of the rigid points' skin since the frame before, [stop − start, K, 2] px or NaN.
LandmarkReader = Callable[[int, int], torch.Tensor]
#: From the rows [M] of a window, in order of time, to values [M, …] of each.
WindowSolver = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]
#: Frames solved together, of which `MARGIN` more at either side only lend support.
WINDOW = 128
MARGIN = 16


@dataclass(frozen=True)
class Sightings:
    """One person in every frame of a video, as the detector saw them.

    Attributes:
        confidence: [T] in [0, 1], the detector's, 0 where there is no face.
        timestamps: [T] float64 seconds, ascending.
        shot: [T] int32, ascending.
        size: width and height of the frames, px.
        source: facts that the track is to carry.
        read_landmarks: gives the detector's landmarks.
        read_flow: gives the motion of the rigid points' skin; without it poses are the detector's alone.
    """

    confidence: torch.Tensor
    timestamps: torch.Tensor
    shot: torch.Tensor
    size: tuple[int, int]
    source: dict[str, object]
    read_landmarks: LandmarkReader
    read_flow: LandmarkReader | None = None


@dataclass(frozen=True)
class Seen:
    """The frames in which one person's face was found.

    Attributes:
        sightings: all frames of the person.
        rows: [N] int64, ascending.
        centre: [3] principal point, px, and 0.
        count: detector points that the face model knows.
    """

    sightings: Sightings
    rows: torch.Tensor
    centre: torch.Tensor
    count: int

    @staticmethod
    def of(sightings: Sightings, model: FaceModel) -> "Seen":
        """The frames with a face; raises `TrackingError` where there are fewer than two."""
        rows = (sightings.confidence > 0).nonzero()[:, 0]
        if len(rows) < 2:
            name = sightings.source.get("file", "footage")
            frames = f"{len(rows)} of {len(sightings.confidence)} frames"
            raise TrackingError(f"{name}: the person is in {frames}; need 2 (see `adapt check`)")
        width, height = sightings.size
        centre = torch.tensor([width / 2, height / 2, 0.0], dtype=torch.float64)
        return Seen(sightings, rows, centre, model.landmark_count)

    def landmarks(self, rows: torch.Tensor) -> torch.Tensor:
        """Landmarks [N, 468, 3] float64, px from the image centre, of ascending rows [N]."""
        return read_rows(self.sightings.read_landmarks, rows)[:, : self.count].double() - self.centre

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
        eye_distance = EYE_DISTANCE_CM * focal / pose[:, 5].exp()
        return Observations(points[..., :2], self.sightings.timestamps[rows], focal, eye_distance)


def read_rows(read: LandmarkReader, rows: torch.Tensor) -> torch.Tensor:
    """What a reader gives of ascending rows [N]; reads stretch by stretch."""
    ends = (rows.diff() != 1).nonzero()[:, 0] + 1
    return torch.cat([read(int(part[0]), int(part[-1]) + 1) for part in torch.tensor_split(rows, ends)])


def windows(rows: torch.Tensor, shot: torch.Tensor, margin: int = MARGIN) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Overlapping windows over the rows [N] with a face, none across a cut: (rows solved, rows kept of them)."""
    result = []
    for number in shot[rows].unique():
        in_shot = rows[shot[rows] == number]
        starts = list(range(0, max(1, len(in_shot) - MARGIN), WINDOW))  # a short rest joins the last window
        for start, stop in zip(starts, [*starts[1:], len(in_shot)], strict=True):
            result.append((in_shot[max(0, start - margin) : stop + margin], in_shot[start:stop]))
    return result


def solve_windows(seen: Seen, solve: WindowSolver, margin: int = MARGIN) -> tuple[torch.Tensor, ...]:
    """Values [T, …] of every frame, solved window by window; 0 where no face was found.

    Args:
        seen: the frames with a face.
        solve: gives the values of a window.
        margin: frames at either side of a window that only lend support; 0 where each frame is solved by itself.
    """
    shot = seen.sightings.shot
    results: list[torch.Tensor] = []
    for solved, kept in windows(seen.rows, shot, margin):
        values = solve(solved)
        results = results or [value.new_zeros(len(shot), *value.shape[1:]) for value in values]
        inside = torch.isin(solved, kept)
        for result, value in zip(results, values, strict=True):
            result[kept] = value[inside]
    return tuple(results)
