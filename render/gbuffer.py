"""G-buffer and masks: which part of the face model every pixel of a crop shows, and where the renderer may paint.

In: clip-space vertices of `Track.clip_vertices`. Out: uv per pixel, and masks [B, 1, H, W] float32 of 0 and 1.
*inner* is the lower face at a frame's expression; *outer* is what is erased from the input: the union of *inner* over a
fixed set of expressions at the same head pose, widened by a margin, so that it tells nothing of the frame's own
expression; *paste* is what is put back.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cuda_ext import ops
from render.face_model import FaceModel

#: The lower face: what is drawn anew and put back.
INNER_REGIONS = ("skin_lower", "lips", "mouth_upper", "mouth_lower")
MOUTH_REGIONS = ("lips", "mouth_upper", "mouth_lower")
#: Widening of *outer* (sideways and down, and up) and of *paste*, px of a 256 px crop.
OUTER_MARGIN_PX = 10
OUTER_MARGIN_UP_PX = 4  # what lies above hardly moves, and the nose should stay
PASTE_MARGIN_PX = 5
CROP_SIZE = 256


@dataclass(frozen=True)
class GBuffer:
    """What the face model shows at every pixel.

    Attributes:
        uv: [B, H, W, 2] in [0, 1], origin top left; 0 where empty.
        inner: [B, 1, H, W], 1 on the lower face.
        mouth: [B, 1, H, W], 1 on the lips and inside the mouth.
        covered: [B, 1, H, W], 1 where the model is seen at all.
        still: [B, 1, H, W], 1 on the skin that a dub leaves alone.
        depth: [B, H, W], z / w in [-1, 1]; 1 where empty.
    """

    uv: torch.Tensor
    inner: torch.Tensor
    mouth: torch.Tensor
    covered: torch.Tensor
    still: torch.Tensor
    depth: torch.Tensor

    def frames(self, chosen: slice | torch.Tensor) -> "GBuffer":
        """The same of some of its crops."""
        return GBuffer(**{name: value[chosen] for name, value in vars(self).items()})


def gbuffer(model: FaceModel, clip_vertices: torch.Tensor, size: int = CROP_SIZE) -> GBuffer:
    """Rasterize the face model.

    Args:
        model: the face model, on the vertices' device.
        clip_vertices: [B, V, 4] float32.
        size: px of the square crop.
    """
    raster = ops.rasterize(clip_vertices, model.faces, (size, size))
    uv = ops.interpolate(model.uv, raster, model.faces)
    inner = _pick(model.faces_in(*INNER_REGIONS), raster.face_id)
    mouth = _pick(model.faces_in(*MOUTH_REGIONS), raster.face_id)
    covered = (raster.face_id[:, None] >= 0).float()
    still = _pick(model.faces_in("skin_upper"), raster.face_id)
    return GBuffer(uv, inner, mouth, covered, still, raster.depth)


def inner_mask(model: FaceModel, clip_vertices: torch.Tensor, size: int = CROP_SIZE) -> torch.Tensor:
    """The lower face [B, 1, H, W] of clip-space vertices [B, V, 4]."""
    raster = ops.rasterize(clip_vertices, model.faces, (size, size))
    return _pick(model.faces_in(*INNER_REGIONS), raster.face_id)


def outer_mask(model: FaceModel, clip_vertices: torch.Tensor, size: int = CROP_SIZE) -> torch.Tensor:
    """What is erased from the input [B, 1, H, W].

    Args:
        model: the face model.
        clip_vertices: [B, K, V, 4], the frames' head poses with the fixed expressions (not the frames' own).
        size: px of the square crop.
    """
    batch, count = clip_vertices.shape[:2]
    masks = inner_mask(model, clip_vertices.flatten(0, 1), size)
    union = masks.view(batch, count, 1, size, size).amax(1)
    return dilate(union, OUTER_MARGIN_PX * size // CROP_SIZE, OUTER_MARGIN_UP_PX * size // CROP_SIZE)


def paste_mask(inner_new: torch.Tensor, inner_source: torch.Tensor, outer: torch.Tensor) -> torch.Tensor:
    """What is put back: the new and the source's own lower face, widened a little, inside outer; all [B, 1, H, W]."""
    margin = PASTE_MARGIN_PX * outer.shape[-1] // CROP_SIZE
    return dilate(torch.maximum(inner_new, inner_source), margin) * outer


def dilate(mask: torch.Tensor, margin_px: int, up_px: int | None = None) -> torch.Tensor:
    """Widen masks [B, 1, H, W] by `margin_px` on each side, upwards by `up_px` where given (rounded to even px)."""
    # At half resolution: the margins are large, and a square maximum filter costs by its area.
    half = F.max_pool2d(mask, 2)
    reach = max(1, margin_px // 2)
    above = reach if up_px is None else max(1, up_px // 2)
    half = F.max_pool2d(half, (1, 2 * reach + 1), 1, (0, reach))
    half = F.max_pool2d(F.pad(half, (0, 0, reach, above)), (reach + above + 1, 1), 1)
    return F.interpolate(half, scale_factor=2, mode="nearest")


def _pick(chosen: torch.Tensor, face_id: torch.Tensor) -> torch.Tensor:
    """Mask [B, 1, H, W] of the pixels whose face is in chosen [F] (bool)."""
    # Index −1 (empty) reads the appended last entry.
    table = torch.cat([chosen, chosen.new_zeros(1)]).to(face_id.device, torch.float32)
    return table[face_id.long()][:, None]
