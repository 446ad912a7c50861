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
#: How wide a strip, px of a 256 px crop, is not bare yet, and is wholly so; so far around one lies near it.
BARE_PX, NEAR_PX = (4, 7), 6
#: How far below the source's chin its shadow lies, or the chin itself where it is tracked too high; and how far that
#: goes on to either side of a strip, less and less downwards.
SHADOW_PX, ASIDE_PX = 22, 4


@dataclass(frozen=True)
class Outline:
    """The drawn lower face beside the source's own; all float32 [CROP_SIZE, CROP_SIZE].

    Attributes:
        bare: 0 or 1, where the source's chin is and the drawn one is not, and its shadow below.
        near_bare: in [0, 1], around that, by how wide the strip is: so nothing comes or goes from frame to frame.
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
    bare = _by_width(old & ~new)
    down, aside = SHADOW_PX // 2, ASIDE_PX // 2
    fan = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * aside + 1, 2 * down + 1))[: down + 1]
    shadow = cv2.dilate(bare, fan, anchor=(aside, down))
    near = cv2.dilate(shadow, np.ones((NEAR_PX - 1, NEAR_PX - 1), np.uint8))
    soft = cv2.GaussianBlur(near, (0, 0), NEAR_PX / 4)
    return Outline(_full((shadow > 0).astype(np.uint8)), _resized(soft), _full(mouth.astype(np.uint8)))


def _by_width(left: np.ndarray) -> np.ndarray:
    """How much each strip of a mask, bool [LOOK_PX, LOOK_PX], counts as bare: float32 of that shape in [0, 1]."""
    square = np.ones((2, 2), np.uint8)
    strips = cv2.dilate(cv2.erode(left.astype(np.uint8), square), square, anchor=(0, 0))
    count, number = cv2.connectedComponents(strips)
    bare, (least, most) = np.zeros(left.shape, np.float32), BARE_PX
    for strip in (number == one for one in range(1, count)):
        runs = [strip.sum(axis) for axis in (0, 1)]
        # As wide as it is where most of it is, down or across.
        width_px = min(float((run**2).sum() / run.sum()) for run in runs) * CROP_SIZE / LOOK_PX
        bare[strip] = np.clip((width_px - least) / (most - least), 0, 1)
    return bare


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


def _resized(values: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.resize(values, (CROP_SIZE, CROP_SIZE)), np.float32)


def _full(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_NEAREST).astype(np.float32)
