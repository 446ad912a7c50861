"""Masks over a crop: where the lower face is at an expression, and what of a drawn crop may be put back.

In: rasterized regions of the head. Out: masks float32 [B, 1, H, W] of 0 and 1. What is erased is in `erasure`.
"""

import torch
import torch.nn.functional as F

from cuda_ext import ops
from render.drawing.crop import CROP_SIZE
from render.head.face_model import FaceModel

#: The lower face: what is drawn anew and put back.
LOWER_FACE_REGIONS = ("skin_lower", "lips", "mouth_upper", "mouth_lower")
MOUTH_REGIONS = ("lips", "mouth_upper", "mouth_lower")

PUT_BACK_MARGIN_PX = 5


def lower_face_mask(model: FaceModel, clip_vertices: torch.Tensor, size: int = CROP_SIZE) -> torch.Tensor:
    """The lower face [B, 1, H, W] of clip-space vertices [B, V, 4]."""
    raster = ops.rasterize(clip_vertices, model.faces, (size, size))
    return pick_faces(model.faces_in(*LOWER_FACE_REGIONS), raster.face_id)


def put_back_mask(new_lower_face: torch.Tensor, own_lower_face: torch.Tensor, erased: torch.Tensor) -> torch.Tensor:
    """What is put back: the new and the source's own lower face, widened a little, where erased; all [B, 1, H, W]."""
    margin = PUT_BACK_MARGIN_PX * erased.shape[-1] // CROP_SIZE
    return dilate(torch.maximum(new_lower_face, own_lower_face), margin) * erased


def dilate(mask: torch.Tensor, margin_px: int, up_px: int | None = None) -> torch.Tensor:
    """Widen masks [B, 1, H, W] by `margin_px` on each side, upwards by `up_px` where given (rounded to even px)."""
    # At half resolution: the margins are large, and a square maximum filter costs by its area.
    half = F.max_pool2d(mask, 2)
    reach = max(1, margin_px // 2)
    above = reach if up_px is None else max(1, up_px // 2)
    half = F.max_pool2d(half, (1, 2 * reach + 1), 1, (0, reach))
    half = F.max_pool2d(F.pad(half, (0, 0, reach, above)), (reach + above + 1, 1), 1)
    return F.interpolate(half, scale_factor=2, mode="nearest")


def pick_faces(chosen: torch.Tensor, face_id: torch.Tensor) -> torch.Tensor:
    """Mask [B, 1, H, W] of the pixels whose face is in chosen [F] (bool)."""
    # Index −1 (empty) reads the appended last entry.
    table = torch.cat([chosen, chosen.new_zeros(1)]).to(face_id.device, torch.float32)
    return table[face_id.long()][:, None]
