"""Where the lips are in a picture and how far they are open, as a landmark detector sees it.

In: crops [N, 3, H, W] of the renderer's frame, sRGB in [0, 1]. Out: landmarks [N, 478, 2] in px of the crop; the inner
lips' gap in eye distances [N]. The detector is MediaPipe's face mesh; it is not what the renderer learnt from directly,
but what its tracks were made with.
"""

import cv2
import numpy as np
import torch

from adapt.cast.mediapipe_backend import MESH_SIZE, MeshDetector
from prior.face.points import opening

#: The square that the mesh network is shown, px of a 256 px crop: left, top, side. It holds the forehead, too.
MESH_VIEW = (-22.0, -82.0, 300.0)
CROP_SIZE = 256


class MouthMeter:
    """Measures mouth openings; holds the detector."""

    def __init__(self) -> None:
        self._mesh = MeshDetector()

    def openings(self, crops: torch.Tensor) -> torch.Tensor:
        """Gap of the inner lips [N] in eye distances."""
        return opening(self.landmarks(crops))

    def landmarks(self, crops: torch.Tensor) -> torch.Tensor:
        """Landmarks [N, 478, 2], px of the crop with centres at + 0.5."""
        return torch.stack([self._landmarks(crop) for crop in crops])

    def _landmarks(self, crop: torch.Tensor) -> torch.Tensor:
        image = (crop.permute(1, 2, 0).clamp(0, 1).numpy() * 255).round().astype(np.uint8)
        left, top, side = (value * image.shape[0] / CROP_SIZE for value in MESH_VIEW)
        scale = MESH_SIZE / side
        view = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
        square = cv2.warpAffine(
            image, view, (MESH_SIZE, MESH_SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        points, _ = self._mesh(square)
        # `view` holds for OpenCV's centres at whole numbers.
        corner = np.array([left, top], np.float32) + 0.5 - 0.5 / scale
        return torch.from_numpy((points[:, :2] * side + corner).astype(np.float32))
