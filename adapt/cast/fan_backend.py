"""Faces by the face-alignment package (extra `fan`): 68 landmarks, for profiles and hard cases. Slow without a GPU.

In: pictures, and the package's weights under `TORCH_HOME/hub/checkpoints`; nothing is downloaded. Its network gives
landmarks in the picture's plane; their relative depth comes from our mean face turned to fit them.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from adapt.cast.faces import Face, LandmarkLayout
from prior.face.model import load_face_model
from render.errors import StoreError

WEIGHT_FILES = ("s3fd-619a316812.pth", "3DFAN4-7835d9f11d.pth.tar")
SOURCE = "https://www.adrianbulat.com/downloads/python-fan/"
LEAST_DETECTION = 0.5
LEAST_FACE_PX = 24.0
# Mean height of the 68 heatmaps' peaks below which there is no face.
LEAST_PEAK = 0.2


FAN_LAYOUT = LandmarkLayout(
    right_eye=(36, 39),
    left_eye=(42, 45),
    nose_tip=30,
    chin=8,
    brow_top=27,
    side_right=0,
    side_left=16,
    mouth_right=48,
    mouth_left=54,
    inner_lip_top=62,
    inner_lip_bottom=66,
)
# For each of the 68 landmarks the mesh landmark that lies nearest on the face: jaw, brows, nose, eyes, lips.
MESH_OF_FAN = (
    (127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356)
    + (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
    + (168, 197, 5, 4, 75, 97, 2, 326, 305)
    + (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
    + (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)
)


class FanBackend:
    """Faces by face-alignment's S3FD detector and 3DFAN network.

    Args:
        device: of torch, such as "cpu" or "cuda".

    Raises:
        StoreError: the package or its weights are not there.
    """

    layout = FAN_LAYOUT
    point_count = 68

    def __init__(self, device: str = "cpu") -> None:
        if find_spec("face_alignment") is None:
            raise StoreError("the landmark backend 'fan' is not installed: pip install 'adapt-dub[fan]'")
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        for name in WEIGHT_FILES:
            if not (folder / name).is_file():
                raise StoreError(f"{folder / name}: missing weights of the backend 'fan'; fetch {SOURCE}{name}")
        import face_alignment

        self._network = face_alignment.FaceAlignment(
            face_alignment.LandmarksType.TWO_HALF_D, device=device, compile=False
        )
        self._mean_face = load_face_model().mean[list(MESH_OF_FAN)].double().numpy()

    def detect(self, rgb: np.ndarray, small: bool) -> list[Face]:
        """All faces in a picture; its detector looks at full size, so small ones are always found."""
        del small
        boxes = [box for box in self._network.face_detector.detect_from_image(rgb.copy()) if box[4] >= LEAST_DETECTION]
        return [face for box in boxes if (face := self._face_in(rgb, np.asarray(box[:4], np.float64)))]

    def follow(self, rgb: np.ndarray, face: Face) -> Face | None:
        """The face again, looked for where its last landmarks were."""
        low, high = face.box[:2].astype(np.float64), face.box[2:].astype(np.float64)
        # The network was trained on detector boxes, which begin above the brows; landmarks begin at them.
        low = low - (0.0, 0.2 * (high[1] - low[1]))
        return self._face_in(rgb, np.concatenate([low, high]))

    def proves(self, rgb: np.ndarray, face: Face) -> bool:
        """Always: its detector alone finds faces, and it is asked every few frames."""
        del rgb, face
        return True

    def _face_in(self, rgb: np.ndarray, box: np.ndarray) -> Face | None:
        if (box[2:] - box[:2]).max() < LEAST_FACE_PX:
            return None
        points, peaks, _ = self._network.get_landmarks_from_image(
            rgb, detected_faces=[[*box.tolist(), 1.0]], return_landmark_score=True
        )
        # Two passes, the picture and its mirror, are summed in the heatmaps.
        confidence = float(np.clip(np.mean(peaks[0]) / 2, 0.0, 1.0))
        if confidence < LEAST_PEAK:
            return None
        plane = np.asarray(points[0], np.float64)[:, :2] + 0.5
        landmarks = np.concatenate([plane, relative_depth(plane, self._mean_face)[:, None]], axis=1)
        low, high = plane.min(axis=0), plane.max(axis=0)
        return Face(np.concatenate([low, high]).astype(np.float32), landmarks.astype(np.float32), confidence)


def relative_depth(plane: np.ndarray, mean_face: np.ndarray) -> np.ndarray:
    """Depth in px, mean 0, smaller is nearer, of landmarks seen in the picture's plane.

    Weak perspective: the two rows that map the mean face to the picture by least squares, made orthogonal and of one
    length; the third row is square to both.

    Args:
        plane: float64 [N, 2] px, y down.
        mean_face: float64 [N, 3] head space, y up, z out of the face.

    Returns:
        float64 [N].
    """
    # Camera axes: x right, y down, z into the picture.
    shape = (mean_face - mean_face.mean(axis=0)) * (1.0, -1.0, -1.0)
    rows = np.linalg.lstsq(shape, plane - plane.mean(axis=0), rcond=None)[0].T
    left, lengths, right = np.linalg.svd(rows, full_matrices=False)
    turn = left @ right
    return shape @ np.cross(turn[0], turn[1]) * lengths.mean()
