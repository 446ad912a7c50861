"""Analysis: shots, faces and cast members of a video in one pass, and which person is meant.

In: footage. Out: `Analysis`; landmarks lie in a temporary file, so that memory does not grow with the video.
"""

import tempfile
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from adapt.cast.faces import (
    Face,
    LandmarkBackend,
    LandmarkLayout,
    eye_distance,
    follow_faces,
    mouth_is_seen,
    mouth_opening,
    roll,
    sharpness,
    yaw,
)
from adapt.cast.mediapipe_backend import MediaPipeBackend
from adapt.cast.members import CastMember, Run, gather_cast
from adapt.cast.shots import mark_cuts
from adapt.cast.skin_flow import SkinFlow
from adapt.progress import SILENT, Progress
from render.errors import TrackingError
from render.video.reader import Footage, Frame


@dataclass(frozen=True)
class Shot:
    """Frames `start` ≤ index < `stop` without a cut."""

    start: int
    stop: int


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

    def all(self) -> np.ndarray:
        """Landmarks of all rows, float32 [rows, N, 3]."""
        self._file.seek(0)
        return np.frombuffer(self._file.read(), np.float32).reshape(-1, *self.shape)

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
        unproven: what was taken for a face and did not stand a second look: nobody.
    """

    footage: Footage
    layout: LandmarkLayout
    shots: tuple[Shot, ...]
    cast: tuple[CastMember, ...]
    landmark_file: LandmarkFile
    flow_file: LandmarkFile
    unproven: tuple[Run, ...] = ()

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


def analyse(
    footage: Footage,
    backend: LandmarkBackend | None = None,
    progress: Progress = SILENT,
    stretch: tuple[int, int] | None = None,
) -> Analysis:
    """Find shots, faces and cast in one pass over the footage. Same footage and backend, same answer.

    Args:
        footage: what is looked at.
        backend: what finds faces.
        progress: where the bar goes.
        stretch: look at frames start ≤ index < stop alone: nobody is seen elsewhere, and people are numbered by these.
    """
    backend = backend or MediaPipeBackend()
    first, last = stretch or (0, footage.frame_count)
    landmark_file, flow_file = LandmarkFile(backend.point_count), LandmarkFile(len(backend.layout.rigid), 2)
    starts: list[int] = []
    runs: dict[int, Run] = {}
    skins: dict[int, SkinFlow] = {}  # of this shot's runs
    frames = progress.over("faces", footage.frames(first, last), last - first)
    for frame, is_cut, faces in follow_faces(mark_cuts(frames), backend):
        if is_cut:
            starts.append(frame.index)
            skins.clear()
        for number, face in faces.items():
            run = runs.setdefault(number, Run(len(starts) - 1))
            _sight(run, frame, face, backend.layout, landmark_file)
            if run.is_look_due:
                run.looks, run.proofs = run.looks + 1, run.proofs + backend.proves(frame.preview, face)
            skin = skins.setdefault(number, SkinFlow())
            flow_file.append(skin.step(frame.index, frame.preview, face.landmarks, backend.layout))
    starts[:1] = [0]
    shots = tuple(Shot(a, b) for a, b in zip(starts, [*starts[1:], footage.frame_count], strict=True))
    cast = gather_cast([run for run in runs.values() if run.is_proven])
    unproven = tuple(run for run in runs.values() if not run.is_proven)
    return Analysis(footage, backend.layout, shots, cast, landmark_file, flow_file, unproven)


def _sight(run: Run, frame: Frame, face: Face, layout: LandmarkLayout, landmark_file: LandmarkFile) -> None:
    run.frames.append(frame.index)
    run.times.append(frame.timestamp)
    run.seconds.append(float(int(frame.footage.durations[frame.index]) * frame.footage.time_base))
    run.rows.append(landmark_file.append(face.landmarks))
    run.confidence.append(face.confidence)
    run.boxes.extend(face.box.tolist())
    run.eye_distance.append(eye_distance(face.landmarks, layout))
    run.yaw.append(yaw(face.landmarks, layout))
    run.roll.append(roll(face.landmarks, layout))
    run.opening.append(mouth_opening(face.landmarks, layout))
    run.sharpness.append(sharpness(frame.preview, face))
    run.is_whole.append(mouth_is_seen(face.landmarks, layout, frame.footage.width, frame.footage.height))
    run.appearance.add(frame.preview, face, layout)


#: A second person with less screen time than this part of the first's is a bystander.
BYSTANDER_PART = 0.2


def choose_person(analysis: Analysis, person: int | None, advice: str) -> int:
    """The cast number that is meant.

    Args:
        analysis: of the footage.
        person: as given by the user.
        advice: how to choose person 1 of several, for the message.

    Raises:
        TrackingError: no face, no such person, or several who could be meant.
    """
    if person is not None:
        return analysis.member(person).number
    everyone(analysis)
    name = analysis.footage.path
    counts = [member.frame_count for member in analysis.cast]
    if len(counts) > 1 and counts[1] > BYSTANDER_PART * counts[0]:
        people = ", ".join(f"{member.number}: {member.frame_count} frames" for member in analysis.cast[:6])
        raise TrackingError(f"{name}: several people ({people}); choose one: {advice} (`adapt check` shows them)")
    return 1


def everyone(analysis: Analysis) -> list[int]:
    """All cast numbers, by screen time; raises `TrackingError` where there is no face."""
    if not analysis.cast:
        raise TrackingError(f"{analysis.footage.path}: no face was found; `adapt check` shows what is in the footage")
    return [member.number for member in analysis.cast]
