"""Cast: who is in the footage, numbered by screen time.

In: a `Footage`. Out: an `Analysis`: shots, runs (one face followed through one shot) and cast members (runs that show
the same person). One pass over the frames, in memory that hardly grows with their number: landmarks go to an unnamed
temporary file.
"""

import tempfile
from dataclasses import dataclass, field

import numpy as np

from adapt.faces import Face, LandmarkBackend, LandmarkLayout, MediaPipeBackend, follow_faces
from adapt.progress import Progress
from adapt.shots import mark_cuts
from render.errors import TrackingError
from render.video import Footage


@dataclass(frozen=True)
class Shot:
    """Frames `start` ≤ index < `stop` without a cut."""

    start: int
    stop: int


@dataclass
class Run:
    """One face followed through one shot: per sighting the frame's index, row of its landmarks, box and confidence."""

    shot: int
    frames: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class CastMember:
    """One person: `number` by screen time from 1, and the runs that show them."""

    number: int
    runs: tuple[Run, ...]

    @property
    def frame_count(self) -> int:
        """Frames in which this person's face is seen."""
        return sum(len(run.frames) for run in self.runs)


class LandmarkFile:
    """Landmarks of many sightings, float32 [N, 3] each, in an unnamed temporary file."""

    def __init__(self, point_count: int) -> None:
        self.point_count = point_count
        self._file = tempfile.TemporaryFile(prefix="adapt-landmarks-")
        self._rows = 0

    def append(self, landmarks: np.ndarray) -> int:
        """Keep one sighting's landmarks; returns its row."""
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(landmarks, np.float32).tobytes())
        self._rows += 1
        return self._rows - 1

    def read(self, row: int) -> np.ndarray:
        """Landmarks float32 [N, 3] of one row."""
        size = self.point_count * 12
        self._file.seek(row * size)
        return np.frombuffer(self._file.read(size), np.float32).reshape(self.point_count, 3)


@dataclass(frozen=True)
class Analysis:
    """What one look at the footage found.

    Attributes:
        footage: the footage that was looked at.
        layout: which landmark is what.
        shots: in order, covering every frame.
        cast: by number.
    """

    footage: Footage
    layout: LandmarkLayout
    shots: tuple[Shot, ...]
    cast: tuple[CastMember, ...]
    landmark_file: LandmarkFile

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
        """
        stop = self.footage.frame_count if stop is None else stop
        landmarks = np.full((stop - start, self.landmark_file.point_count, 3), np.nan, np.float32)
        confidence = np.zeros(stop - start, np.float32)
        for run in self.member(person).runs:
            for frame, row, sure in zip(run.frames, run.rows, run.confidence, strict=True):
                if start <= frame < stop and sure > confidence[frame - start]:
                    landmarks[frame - start] = self.landmark_file.read(row)
                    confidence[frame - start] = sure
        return landmarks, confidence

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
    landmark_file = LandmarkFile(backend.point_count)
    starts: list[int] = []
    runs: dict[int, Run] = {}
    frames = progress.over("faces", footage.frames(), footage.frame_count)
    for frame, is_cut, faces in follow_faces(mark_cuts(frames), backend):
        if is_cut:
            starts.append(frame.index)
        for number, face in faces.items():
            run = runs.setdefault(number, Run(len(starts) - 1))
            _sight(run, frame.index, face, landmark_file)
    starts[:1] = [0]
    shots = tuple(Shot(a, b) for a, b in zip(starts, [*starts[1:], footage.frame_count], strict=True))
    return Analysis(footage, backend.layout, shots, _cast(list(runs.values())), landmark_file)


def _sight(run: Run, frame: int, face: Face, landmark_file: LandmarkFile) -> None:
    run.frames.append(frame)
    run.rows.append(landmark_file.append(face.landmarks))
    run.boxes.append(face.box)
    run.confidence.append(face.confidence)


def _cast(runs: list[Run]) -> tuple[CastMember, ...]:
    ordered = sorted(runs, key=lambda run: (-len(run.frames), run.frames[0]))
    return tuple(CastMember(number, (run,)) for number, run in enumerate(ordered, 1))
