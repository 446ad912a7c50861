"""Matte: how what was drawn goes over into the real crop, and which region of the face is put back at all.

Masks and mattes are float32 [H, W] (numpy) or [N, 1, H, W] (torch) in [0, 1], in crop space.
"""

import cv2
import numpy as np
import torch

from render.compositing.region import MARGIN_PX
from render.drawing.crop import CROP_SIZE
from render.drawing.masks import dilate
from render.drawing.renderer import RenderOutput

#: The matte falls to 0 over so many px of a 256 px crop, inside the mask that is put back.
FEATHER_PX = 7
#: But for where the new face leaves bare what the source's covered, it falls over so many px, to 0 so far inside that
#: mask: just beyond the face the source is right, and the network guesses.
#: Tried, no gain: a matte that follows where drawing and source agree; it leaves a dark line.
FACE_FEATHER_PX, FACE_INSET_PX = 9, 3


def feathered(
    matte: np.ndarray, put_back: np.ndarray, near_bare: np.ndarray | None = None, face: np.ndarray | None = None
) -> np.ndarray:
    """A matte [H, W] that falls to 0 towards the border of what is put back, 0 outside.

    Args:
        matte: [H, W] in [0, 1].
        put_back: [H, W] mask of 0 and 1.
        near_bare: [H, W] of `Outline`; where it is 0, the matte falls further inside, towards the border of the face.
        face: [H, W] mask of 0 and 1, what would be put back if nothing were bare; default all of `put_back`.
    """
    ramp = _smooth(_from_border_px(put_back) / FEATHER_PX)
    if near_bare is not None:
        inner = _smooth((_from_border_px(put_back if face is None else face) - FACE_INSET_PX) / FACE_FEATHER_PX)
        ramp = inner + (ramp - inner) * near_bare
    return np.asarray(matte * ramp, np.float32)


def _from_border_px(mask: np.ndarray) -> np.ndarray:
    """How far inside a square mask each pixel lies, px of a 256 px crop; 0 outside."""
    distance = cv2.distanceTransform((mask > 0).astype(np.uint8), cv2.DIST_L2, 3)
    return np.asarray(distance * (CROP_SIZE / mask.shape[0]))


def _smooth(ramp: np.ndarray) -> np.ndarray:
    ramp = np.clip(ramp, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp))


def put_back(drawn: RenderOutput, crops: torch.Tensor) -> torch.Tensor:
    """What was drawn, feathered into the real crops [N, 3, H, W]."""
    mattes = [feathered(m[0].numpy(), p[0].numpy()) for m, p in zip(drawn.matte, drawn.put_back, strict=True)]
    return torch.lerp(crops, drawn.rgb, torch.from_numpy(np.stack(mattes))[:, None])


def region_mask(mouth: torch.Tensor, put_back: torch.Tensor, region: str) -> torch.Tensor:
    """The part of what is put back that a region leaves, [N, 1, H, W].

    Args:
        mouth: [N, 1, H, W] lips and mouth, those of the source and those that are drawn.
        put_back: [N, 1, H, W] of `render.drawing.masks.put_back_mask`.
        region: of `render.compositing.region.REGIONS`.
    """
    margin = MARGIN_PX[region]
    return put_back if margin is None else dilate(mouth, margin * put_back.shape[-1] // CROP_SIZE) * put_back
