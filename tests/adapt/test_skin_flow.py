import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from adapt.cast.mediapipe_backend import FACE_MESH_LAYOUT, MediaPipeBackend
from adapt.cast.skin_flow import SkinFlow


@pytest.fixture(scope="module")
def landmarks() -> np.ndarray:
    return MediaPipeBackend().detect(astronaut(), small=False)[0].landmarks


def moved(picture: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """The picture through an affine map [2, 3] of px whose centres are at + 0.5."""
    matrix = motion.copy()
    matrix[:, 2] += motion[:, :2] @ (0.5, 0.5) - 0.5
    return cv2.warpAffine(picture, matrix, picture.shape[1::-1], flags=cv2.INTER_CUBIC)


def test_skin_is_followed_however_badly_the_landmarks_are(landmarks: np.ndarray) -> None:
    """A turn by 2°, a step of 3.3 px to the right, and landmarks that err by 1 px where the eyes are 38 px apart."""
    motion = np.concatenate([cv2.getRotationMatrix2D((220, 120), 2.0, 1.01)[:, :2], [[0], [0]]], 1)
    motion[:, 2] = (220 + 3.3, 120 - 1.2) - motion[:, :2] @ (220, 120)
    rigid = landmarks[list(FACE_MESH_LAYOUT.rigid), :2]
    after = landmarks.copy()
    after[:, :2] = landmarks[:, :2] @ motion[:, :2].T + motion[:, 2]
    after[:, :2] += np.random.default_rng(0).normal(0, 1, (len(after), 2))
    skin = SkinFlow()
    assert np.isnan(skin.step(7, astronaut(), landmarks, FACE_MESH_LAYOUT)).all()
    flow = skin.step(8, moved(astronaut(), motion), after, FACE_MESH_LAYOUT)
    error = np.linalg.norm(flow - (rigid @ motion[:, :2].T + motion[:, 2] - rigid), axis=1)
    assert np.isfinite(error).mean() > 0.8
    assert np.nanmedian(error) < 0.1 and np.nanquantile(error, 0.9) < 0.3


def test_a_frame_that_is_missing_begins_anew(landmarks: np.ndarray) -> None:
    skin = SkinFlow()
    skin.step(0, astronaut(), landmarks, FACE_MESH_LAYOUT)
    assert np.isnan(skin.step(2, astronaut(), landmarks, FACE_MESH_LAYOUT)).all()
    assert np.isfinite(skin.step(3, astronaut(), landmarks, FACE_MESH_LAYOUT)).any()
