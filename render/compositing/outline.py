"""How the lower face that is drawn lies beside the source's own, in one frame: by the face model's geometry alone.

In: the face model's vertices at both expressions, in clip space of the frame's crop. Out: what the drawn face leaves
bare, and the source's skin carried along to where the drawn face shows it. Rasterized at half of the crop's size.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from cuda_ext import ops
from render.drawing.crop import CROP_SIZE
from render.drawing.gbuffer import gbuffer
from render.head.face_model import FaceModel

LOOK_PX = CROP_SIZE // 2
#: A narrower strip, px of a 256 px crop, is not counted as bare; so far around one lies near it.
LEAST_BARE_PX, NEAR_PX = 6, 6
#: How far below the source's chin its shadow lies.
#: Painting over a wider strip beside the old chin was tried: no better.
SHADOW_PX = 10


@dataclass(frozen=True)
class Outline:
    """The drawn lower face beside the source's own; all float32 [CROP_SIZE, CROP_SIZE].

    Attributes:
        bare: 0 or 1, where the source's chin is and the drawn one is not, and its shadow below.
        near_bare: in [0, 1], around that.
        mouth: 0 or 1, the source's own lips and mouth.
    """

    bare: np.ndarray
    near_bare: np.ndarray
    mouth: np.ndarray

    @staticmethod
    def of(model: FaceModel, drawn: torch.Tensor, own: torch.Tensor) -> "Outline":
        """From clip-space vertices [1, V, 4] of the drawn and of the source's own expression."""
        new, old = (gbuffer(model, vertices, LOOK_PX) for vertices in (drawn, own))
        return outline(_mask(new.lower_face), _mask(old.lower_face), _mask(old.mouth))


def outline(new: np.ndarray, old: np.ndarray, mouth: np.ndarray) -> Outline:
    """From masks, bool [LOOK_PX, LOOK_PX]: the drawn lower face, the source's own, and the source's mouth."""
    least = np.ones((LEAST_BARE_PX // 2, LEAST_BARE_PX // 2), np.uint8)
    bare = cv2.morphologyEx((old & ~new).astype(np.uint8), cv2.MORPH_OPEN, least)
    shadow = cv2.dilate(bare, np.ones((SHADOW_PX // 2 + 1, 3), np.uint8), anchor=(1, SHADOW_PX // 2))
    near = cv2.dilate(bare, np.ones((NEAR_PX - 1, NEAR_PX - 1), np.uint8))
    soft = cv2.GaussianBlur(near.astype(np.float32), (0, 0), NEAR_PX / 4)
    return Outline(_full(shadow), cv2.resize(soft, (CROP_SIZE, CROP_SIZE)), _full(mouth.astype(np.uint8)))


def carried_skin(model: FaceModel, drawn: torch.Tensor, own: torch.Tensor, source: np.ndarray) -> np.ndarray:
    """The source's picture of each point of the face, put where the drawn face shows that point.

    Args:
        model: the face model.
        drawn: [1, V, 4] clip-space vertices at the drawn expression.
        own: [1, V, 4] the same at the source's own.
        source: float32 [CROP_SIZE, CROP_SIZE, 3], the source's crop.

    Returns:
        float32 [CROP_SIZE, CROP_SIZE, 3]; beyond the drawn face it says nothing.
    """
    raster = ops.rasterize(drawn, model.faces, (LOOK_PX, LOOK_PX))
    # NDC to px, with OpenCV's pixel centres at whole numbers.
    place = (own[0, :, :2] / own[0, :, 3:] * torch.tensor([0.5, -0.5]) + 0.5) * CROP_SIZE - 0.5
    at = ops.interpolate(place.contiguous(), raster, model.faces)[0].numpy()
    x, y = cv2.split(cv2.resize(at, (CROP_SIZE, CROP_SIZE)))
    return np.asarray(cv2.remap(source, x, y, cv2.INTER_LINEAR))


def _mask(buffer: torch.Tensor) -> np.ndarray:
    return np.asarray(buffer[0, 0].numpy() > 0)


def _full(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_NEAREST).astype(np.float32)
