"""Cast: who is in the footage, numbered by screen time.

In: a `Footage`. Out: an `Analysis`: shots, runs (one face followed through one shot) and cast members (runs that show
the same person). One pass over the frames, in memory that hardly grows with their number: landmarks go to an unnamed
temporary file, pictures are reduced to an `Appearance` per run.
"""

import tempfile
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from adapt.appearance import Appearance, likeness
from adapt.faces import (
    Face,
    LandmarkBackend,
    LandmarkLayout,
    eye_distance,
    follow_faces,
    mouth_opening,
    overlap,
    sharpness,
    yaw,
)
from adapt.mediapipe_faces import MediaPipeBackend
from adapt.progress import Progress
from adapt.shots import mark_cuts
from adapt.skin_flow import SkinFlow
from render.errors import TrackingError
from render.video import Footage, Frame

# What is added to the likeness of two runs of one shot of which the second begins where the first was lost.
RESUMED_BONUS = 4.0
# Frames within which, and shared part of the boxes with which, a lost face counts as resumed.
RESUMED_FRAMES = 50
RESUMED_OVERLAP = 0.3
# A run shorter than this, in frames, whose median confidence is below this, is not a face.
DOUBTFUL_FRAMES = 25
DOUBTFUL_CONFIDENCE = 0.95
# A likeness no clustering can make up for: two faces in one frame are two people.
TWO_PEOPLE = -1e4


@dataclass(frozen=True)
class Shot:
    """Frames `start` ≤ index < `stop` without a cut."""

    start: int
    stop: int


@dataclass
class Run:
    """One face followed through one shot. One entry per sighting, in order of time.

    Attributes:
        shot: index of the shot.
        frames: index of the frame. `rows`: where its landmarks are kept.
        confidence: in [0, 1]. `boxes`: px, four numbers a sighting.
        eye_distance: px. `yaw`: radians. `opening`: of the mouth, in eye distances. `sharpness`: see `faces.sharpness`.
        appearance: what the face looks like, over the run.
    """

    shot: int
    frames: array = field(default_factory=lambda: array("i"))
    rows: array = field(default_factory=lambda: array("i"))
    confidence: array = field(default_factory=lambda: array("f"))
    boxes: array = field(default_factory=lambda: array("f"))
    eye_distance: array = field(default_factory=lambda: array("f"))
    yaw: array = field(default_factory=lambda: array("f"))
    opening: array = field(default_factory=lambda: array("f"))
    sharpness: array = field(default_factory=lambda: array("f"))
    appearance: Appearance = field(default_factory=Appearance)

    def box(self, sighting: int) -> np.ndarray:
        """Box of one sighting, float32 [4] px."""
        sighting %= len(self.frames)
        return np.array(self.boxes[4 * sighting : 4 * sighting + 4], np.float32)


@dataclass(frozen=True)
class CastMember:
    """One person: `number` by screen time from 1, and the runs that show them, in order of time."""

    number: int
    runs: tuple[Run, ...]

    @property
    def frame_count(self) -> int:
        """Frames in which this person's face is seen."""
        return sum(len(run.frames) for run in self.runs)

    def values(self, name: str) -> np.ndarray:
        """One of a run's measures over all sightings, such as "frames" or "yaw"; [frame_count]."""
        return np.concatenate([np.asarray(getattr(run, name)) for run in self.runs])


class LandmarkFile:
    """Landmarks of many sightings, float32 [N, 3] each (or another shape), in an unnamed temporary file."""

    def __init__(self, point_count: int, columns: int = 3) -> None:
        self.shape = (point_count, columns)
        self._file = tempfile.TemporaryFile(prefix="adapt-landmarks-")
        self._rows = 0

    def append(self, landmarks: np.ndarray) -> int:
        """Keep one sighting's landmarks; returns its row."""
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(landmarks, np.float32).tobytes())
        self._rows += 1
        return self._rows - 1

    def read(self, row: int) -> np.ndarray:
        """Landmarks of one row."""
        size = 4 * self.shape[0] * self.shape[1]
        self._file.seek(row * size)
        return np.frombuffer(self._file.read(size), np.float32).reshape(self.shape)


@dataclass(frozen=True)
class Analysis:
    """What one look at the footage found.

    Attributes:
        footage: the footage that was looked at.
        layout: which landmark is what.
        shots: in order, covering every frame.
        cast: by number.
        landmark_file: the landmarks of every sighting, see `landmarks`; flow_file: how its skin moved, see `flow`.
    """

    footage: Footage
    layout: LandmarkLayout
    shots: tuple[Shot, ...]
    cast: tuple[CastMember, ...]
    landmark_file: LandmarkFile
    flow_file: LandmarkFile

    def member(self, person: int) -> CastMember:
        """Cast member by number.

        Raises:
            TrackingError: there is no such person.
        """
        if not 1 <= person <= len(self.cast):
            held = f"people are 1 to {len(self.cast)}" if self.cast else "no face was found"
            raise TrackingError(f"{self.footage.path}: no person {person} ({held}); `adapt check` shows who is who")
        return self.cast[person - 1]

    def landmarks(self, person: int, start: int = 0, stop: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks of one person in frames `start` ≤ index < `stop`.

        Returns:
            landmarks: float32 [T, N, 3] px, NaN where the face is not seen.
            confidence: float32 [T] in [0, 1], 0 where the face is not seen.

        Raises:
            TrackingError: there is no such person.
        """
        stop = self.footage.frame_count if stop is None else stop
        landmarks = self._read(self.landmark_file, person, start, stop)
        confidence = np.zeros(self.footage.frame_count, np.float32)
        member = self.member(person)
        confidence[member.values("frames")] = member.values("confidence")
        return landmarks, confidence[start:stop]

    def flow(self, person: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """How one person's skin moved since the frame before, frames `start` ≤ index < `stop`.

        Returns:
            float32 [T, K, 2] px at the layout's `rigid` points, NaN where it is not known.

        Raises:
            TrackingError: there is no such person.
        """
        return self._read(self.flow_file, person, start, self.footage.frame_count if stop is None else stop)

    def _read(self, file: LandmarkFile, person: int, start: int, stop: int) -> np.ndarray:
        values = np.full((stop - start, *file.shape), np.nan, np.float32)
        for run in self.member(person).runs:
            for place in range(bisect_left(run.frames, start), bisect_left(run.frames, stop)):
                values[run.frames[place] - start] = file.read(run.rows[place])
        return values

    def shot_of_frame(self) -> np.ndarray:
        """Index of every frame's shot, int32 [T]."""
        shots = np.zeros(self.footage.frame_count, np.int32)
        for index, shot in enumerate(self.shots):
            shots[shot.start : shot.stop] = index
        return shots


def analyse(footage: Footage, backend: LandmarkBackend | None = None, progress: Progress | None = None) -> Analysis:
    """Find shots, faces and cast in one pass over the footage. Same footage and backend, same answer."""
    backend = backend or MediaPipeBackend()
    progress = progress or Progress(silent=True)
    landmark_file, flow_file = LandmarkFile(backend.point_count), LandmarkFile(len(backend.layout.rigid), 2)
    starts: list[int] = []
    runs: dict[int, Run] = {}
    skins: dict[int, SkinFlow] = {}  # of this shot's runs
    frames = progress.over("faces", footage.frames(), footage.frame_count)
    for frame, is_cut, faces in follow_faces(mark_cuts(frames), backend):
        if is_cut:
            starts.append(frame.index)
            skins.clear()
        for number, face in faces.items():
            run = runs.setdefault(number, Run(len(starts) - 1))
            _sight(run, frame, face, backend.layout, landmark_file)
            skin = skins.setdefault(number, SkinFlow())
            flow_file.append(skin.step(frame.index, frame.preview, face.landmarks, backend.layout))
    starts[:1] = [0]
    shots = tuple(Shot(a, b) for a, b in zip(starts, [*starts[1:], footage.frame_count], strict=True))
    return Analysis(footage, backend.layout, shots, gather_cast(list(runs.values())), landmark_file, flow_file)


def _sight(run: Run, frame: Frame, face: Face, layout: LandmarkLayout, landmark_file: LandmarkFile) -> None:
    run.frames.append(frame.index)
    run.rows.append(landmark_file.append(face.landmarks))
    run.confidence.append(face.confidence)
    run.boxes.extend(face.box.tolist())
    run.eye_distance.append(eye_distance(face.landmarks, layout))
    run.yaw.append(yaw(face.landmarks, layout))
    run.opening.append(mouth_opening(face.landmarks, layout))
    run.sharpness.append(sharpness(frame.preview, face))
    run.appearance.add(frame.preview, face, layout)


def gather_cast(runs: list[Run]) -> tuple[CastMember, ...]:
    """Cluster runs into people (average linkage on their likeness), most frames first; doubtful runs are left out."""
    runs = [
        run for run in runs if len(run.frames) >= DOUBTFUL_FRAMES or np.median(run.confidence) >= DOUBTFUL_CONFIDENCE
    ]
    if not runs:
        return ()
    labels = np.ones(1, int)
    if len(runs) > 1:
        alike = np.zeros((len(runs), len(runs)))
        for a, b in combinations(range(len(runs)), 2):
            alike[a, b] = alike[b, a] = _likeness(runs[a], runs[b])
        # Clustering wants distances from 0 up; a likeness of 0 (even odds) is where people part.
        distance = alike.max() - alike
        np.fill_diagonal(distance, 0.0)
        labels = fcluster(linkage(squareform(distance), "average"), alike.max(), "distance")
    people = [[run for run, label in zip(runs, labels, strict=True) if label == person] for person in set(labels)]
    people.sort(key=lambda person: (-sum(len(run.frames) for run in person), person[0].frames[0]))
    return tuple(CastMember(number, tuple(person)) for number, person in enumerate(people, 1))


def _likeness(first: Run, second: Run) -> float:
    """Log-odds that two runs show one person."""
    if first.shot != second.shot:
        return likeness(first.appearance, second.appearance)
    if first.frames[0] > second.frames[0]:
        first, second = second, first
    gap = second.frames[0] - first.frames[-1]
    if gap <= 0:
        return TWO_PEOPLE
    resumed = gap <= RESUMED_FRAMES and overlap(first.box(-1), second.box(0)) > RESUMED_OVERLAP
    return likeness(first.appearance, second.appearance) + (RESUMED_BONUS if resumed else 0.0)
