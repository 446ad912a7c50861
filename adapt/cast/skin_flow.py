"""How the skin of the upper face moves from one frame to the next: optical flow at points that are rigid with the head.

In: pictures of one face with its landmarks, frame by frame. Out: how far what was at each such point a frame ago has
moved, px. A detector guesses every picture anew, a hundredth of the eye distance off; skin is followed ten times as
truly, but only from frame to frame, so that errors add up.
"""

import cv2
import numpy as np

from adapt.cast.faces import LandmarkLayout, eye_centres, eye_distance
from render.drawing.crop import cut_crop

#: Side of the picture in which flow is looked for, the eye distance in it, and how far its middle lies above the
#: middle of the picture; px.
PATCH_PX = 192
PATCH_EYE_DISTANCE_PX = 80.0
PATCH_EYES_ABOVE_PX = 16.0
#: Points nearer to the border of the patch than this, px, are not followed.
BORDER_PX = 8.0
#: Side of the square that is compared, px, and how often the picture is halved.
WINDOW_PX = 21
HALVINGS = 2


class SkinFlow:
    """Follows the skin of one face; call it with every sighting in turn."""

    def __init__(self) -> None:
        self._frame = -2
        self._patch = np.zeros((PATCH_PX, PATCH_PX), np.uint8)
        self._matrix = np.zeros((2, 3))
        self._points = np.zeros((0, 2))

    def step(self, frame: int, rgb: np.ndarray, landmarks: np.ndarray, layout: LandmarkLayout) -> np.ndarray:
        """Motion since the frame before at `layout.rigid` points: float32 [K, 2] px, NaN where it is not known.

        Args:
            frame: index of the frame; what is not the next one begins anew.
            rgb: the picture, uint8 [H, W, 3].
            landmarks: [N, 3] px, of the face in it.
            layout: which landmark is what.
        """
        points = landmarks[list(layout.rigid), :2].astype(np.float64)
        matrix = patch_from_image(landmarks, layout)
        patch = cut_crop(rgb[..., 1], matrix, PATCH_PX)
        moved = np.full(points.shape, np.nan, np.float32)
        if frame == self._frame + 1 and len(points):
            there, followed = follow(self._patch, patch, apply(self._matrix, self._points), apply(matrix, points))
            back = np.linalg.inv(matrix[:, :2])
            moved[followed] = ((there - matrix[:, 2]) @ back.T - self._points)[followed]
        self._frame, self._patch, self._matrix, self._points = frame, patch, matrix, points
        return moved


def patch_from_image(landmarks: np.ndarray, layout: LandmarkLayout) -> np.ndarray:
    """Similarity [2, 3] from the picture to a patch of the upper face with level eyes, px."""
    right, left = (eye[:2].astype(np.float64) for eye in eye_centres(landmarks, layout))
    scale = PATCH_EYE_DISTANCE_PX / max(eye_distance(landmarks, layout), 1.0)
    angle = np.arctan2(left[1] - right[1], left[0] - right[0])
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cosine, sine], [-sine, cosine]])
    middle = np.array([PATCH_PX / 2, PATCH_PX / 2 - PATCH_EYES_ABOVE_PX])
    return np.concatenate([linear, (middle - linear @ ((right + left) / 2))[:, None]], 1)


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [K, 2] through an affine map [2, 3]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def follow(
    before: np.ndarray, after: np.ndarray, points: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where points [K, 2] px of one patch are in the next, and which of them could be followed, bool [K].

    Pyramidal Lucas–Kanade (Bouguet 2001); `guess` [K, 2] is where the search starts.
    """
    # OpenCV puts pixel centres at whole numbers.
    start, search = (np.ascontiguousarray(place[:, None] - 0.5, np.float32) for place in (points, guess))
    there, status, _ = cv2.calcOpticalFlowPyrLK(
        before,
        after,
        start,
        search,
        winSize=(WINDOW_PX, WINDOW_PX),
        maxLevel=HALVINGS,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.01),
    )
    both = np.concatenate([start, there], 1)
    inside = ((both > BORDER_PX) & (both < PATCH_PX - BORDER_PX)).all((1, 2))
    return there[:, 0].astype(np.float64) + 0.5, (status[:, 0] > 0) & inside
