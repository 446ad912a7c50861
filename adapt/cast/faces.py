"""Faces: where they are in each frame, which of them are the same one within a shot, and simple measures of them.

In: frames with cuts marked. Out: per frame, the faces found, each with the number of the run it belongs to (a run is
one face followed through one shot). A landmark backend is two functions: `detect` looks everywhere, `follow` looks
again where a face was a frame ago. Landmarks are px of the upright image, x right, y down, pixel centres at + 0.5;
depth is relative, in px, smaller is nearer. Boxes are x0, y0, x1, y1 in px around the landmarks.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from render.video.reader import Frame

# Seconds from one look at the whole picture to the next, and to the next that also looks for small faces.
LOOK_SECONDS = 0.4
LOOK_CLOSELY_SECONDS = 1.2
# Seconds without its face after which a run ends.
LOST_SECONDS = 0.48
# Two boxes that share this much of the smaller one are the same face; less where one is half the other's height, or
# smaller: it is then a part of the larger face, or of the hair, taken for a face.
SAME_FACE = 0.4
PART_OF_FACE = 0.1
# Roll, radians, beyond which a face stands on its head rather than lies, and beyond which it lies rather than stands.
UPSIDE_DOWN, LYING = np.radians(135.0), np.radians(45.0)
#: So far beyond the border, in eye distances, a point still counts as in the picture: it is not found more truly.
BEYOND_BORDER = 0.05
# Height to which a face is brought before its sharpness is measured.
SHARPNESS_PX = 160


@dataclass(frozen=True)
class Face:
    """One face in one picture: `box` float32 [4] px, `landmarks` float32 [N, 3] px, `confidence` in [0, 1]."""

    box: np.ndarray
    landmarks: np.ndarray
    confidence: float

    @property
    def height(self) -> float:
        """Height of the box in px."""
        return float(self.box[3] - self.box[1])


@dataclass(frozen=True)
class LandmarkLayout:
    """Which landmarks of a backend are what: indices, or tuples of indices whose mean is the point.

    `right` and `left` are the person's own. `side_right`, `side_left` lie beside the ears, `brow_top` on the midline;
    `rigid` are those that neither jaw nor brows move.
    """

    right_eye: tuple[int, ...]
    left_eye: tuple[int, ...]
    nose_tip: int
    chin: int
    brow_top: int
    side_right: int
    side_left: int
    mouth_right: int
    mouth_left: int
    inner_lip_top: int
    inner_lip_bottom: int
    rigid: tuple[int, ...] = ()


class LandmarkBackend(Protocol):
    """What finds faces. Same picture, same answer."""

    layout: LandmarkLayout
    point_count: int

    def detect(self, rgb: np.ndarray, small: bool) -> list[Face]:
        """All faces in a picture, uint8 [H, W, 3]; the small ones, which take longer to find, only if asked for."""
        ...

    def follow(self, rgb: np.ndarray, face: Face) -> Face | None:
        """The face again, in the next picture; None where it is gone."""
        ...

    def proves(self, rgb: np.ndarray, face: Face) -> bool:
        """Whether what was found stands a second look, by other means than it is followed by."""
        ...


def eye_centres(landmarks: np.ndarray, layout: LandmarkLayout) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the person's right and left eye, float32 [3] each, from landmarks [N, 3]."""
    return landmarks[list(layout.right_eye)].mean(axis=0), landmarks[list(layout.left_eye)].mean(axis=0)


def eye_distance(landmarks: np.ndarray, layout: LandmarkLayout) -> float:
    """Distance of the eye centres in px, depth included, so that turning the head hardly changes it."""
    right, left = eye_centres(landmarks, layout)
    return float(np.linalg.norm(left - right))


def yaw(landmarks: np.ndarray, layout: LandmarkLayout) -> float:
    """Turn of the head about the vertical, radians, 0 frontal, positive where the nose points to the image's left.

    What `render.head.camera.head_turn` calls yaw, read off two points: within about 3 degrees of a track's.
    """
    across = landmarks[layout.side_right] - landmarks[layout.side_left]
    return float(np.arctan2(across[2], np.hypot(across[0], across[1])))


def roll(landmarks: np.ndarray, layout: LandmarkLayout) -> float:
    """Turn of the face in the picture, radians in (−π, π], 0 upright, positive clockwise."""
    right, left = eye_centres(landmarks, layout)
    return float(np.arctan2(left[1] - right[1], left[0] - right[0]))


def is_upside_down(roll: np.ndarray) -> np.ndarray:
    """Where a roll, radians, is nearer to upside down than to lying on a side."""
    return np.abs(roll) > UPSIDE_DOWN


def mouth_opening(landmarks: np.ndarray, layout: LandmarkLayout) -> float:
    """Gap between the inner lips in eye distances, of one pair of a detector's points and without a sign.

    `prior.face.points.opening` is another measure: the mean of three pairs, negative where lips overlap. That one needs
    the points of the face model; this one is for the layout of any detector, as found, without a head pose.
    """
    gap = landmarks[layout.inner_lip_bottom] - landmarks[layout.inner_lip_top]
    return float(np.linalg.norm(gap)) / max(eye_distance(landmarks, layout), 1e-6)


def mouth_is_seen(landmarks: np.ndarray, layout: LandmarkLayout, width: int, height: int) -> bool:
    """Whether mouth corners, lips and chin lie inside the picture, whose size is in px."""
    names = (layout.mouth_right, layout.mouth_left, layout.inner_lip_top, layout.inner_lip_bottom, layout.chin)
    points, slack = landmarks[list(names), :2], BEYOND_BORDER * eye_distance(landmarks, layout)
    return bool(((points >= -slack) & (points <= np.array([width, height]) + slack)).all())


def sharpness(rgb: np.ndarray, face: Face) -> float:
    """Fine detail of a face's picture, ~0 blurred to ~0.5 crisp: luma's change from pixel to pixel over its spread.

    Measured with the face 160 px high, whatever its own height, so that it says what a mouth crop will hold.
    """
    low = np.maximum(np.floor(face.box[:2]), 0).astype(int)
    high = np.ceil(face.box[2:]).astype(int)
    picture = rgb[low[1] : high[1], low[0] : high[0]]
    if min(picture.shape[:2]) < 8:
        return 0.0
    scale = SHARPNESS_PX / picture.shape[0]
    size = (max(8, round(picture.shape[1] * scale)), SHARPNESS_PX)
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(luma, cv2.CV_32F).std() / max(float(luma.std()), 1.0))


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """What two boxes share, over the area of the smaller one."""
    shared = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    smaller = min(float(np.prod(box[2:] - box[:2])) for box in (first, second))
    return float(np.prod(np.maximum(shared, 0))) / max(smaller, 1e-9)


def is_known(face: Face, others: Iterable[Face]) -> bool:
    """Whether a face is one of the others, or a part of one, by its box."""
    for other in others:
        ratio = min(face.height, other.height) / max(face.height, other.height)
        if overlap(face.box, other.box) > (SAME_FACE if ratio > 0.5 else PART_OF_FACE):
            return True
    return False


def follow_faces(
    marked: Iterable[tuple[Frame, bool]], backend: LandmarkBackend
) -> Iterator[tuple[Frame, bool, dict[int, Face]]]:
    """Per frame: the frame, whether it begins a shot, and its faces by run number.

    The whole picture is searched at the start of a shot, every few frames, and where a face was lost. A run goes on
    over a few frames without its face, looked for where it was; it ends with its shot.
    """
    runs: dict[int, Face] = {}  # last sighting of every run of this shot that is still looked for
    seen_at: dict[int, float] = {}  # when that was
    unseen: dict[int, int] = {}  # frames since then
    next_run = 0
    start = last = 0.0  # seconds of this shot's first frame, and since then of the frame before
    for frame, is_cut in marked:
        if is_cut:
            runs, seen_at, unseen, start, last = {}, {}, {}, frame.timestamp, -1.0
        now = frame.timestamp - start
        followed = {run: backend.follow(frame.preview, face) for run, face in runs.items()}
        faces = _without_doubles({run: face for run, face in followed.items() if face})
        unseen = {run: 0 if followed[run] else unseen[run] + 1 for run in runs if run in faces or not followed[run]}
        closely = _is_due(LOOK_CLOSELY_SECONDS, last, now) or 1 in unseen.values()
        if closely or _is_due(LOOK_SECONDS, last, now):
            for face in backend.detect(frame.preview, small=closely):
                if is_known(face, faces.values()):
                    continue
                number = next((run for run in unseen if unseen[run] and is_known(face, [runs[run]])), next_run)
                next_run += number == next_run
                faces[number], unseen[number] = face, 0
        seen_at |= dict.fromkeys(faces, now)
        runs = {run: faces.get(run) or runs[run] for run in unseen if round(now - seen_at[run], 3) <= LOST_SECONDS}
        unseen = {run: unseen[run] for run in runs}
        last = now
        yield frame, is_cut, faces


def _is_due(every: float, last: float, now: float) -> bool:
    """Whether a multiple of `every` seconds lies after `last` and not after `now`, to the millisecond."""
    return int((now + 5e-4) // every) > (last + 5e-4) // every


def _without_doubles(faces: dict[int, Face]) -> dict[int, Face]:
    """The faces less those that slid onto an older run's face."""
    kept: dict[int, Face] = {}
    for run, face in sorted(faces.items()):
        if not is_known(face, kept.values()):
            kept[run] = face
    return kept
