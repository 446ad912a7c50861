"""G-buffer and masks: which part of the face model every pixel of a crop shows, and where the renderer may paint.

In: clip-space vertices of `Track.clip_vertices`. Out: uv per pixel, and masks [B, 1, H, W] float32 of 0 and 1.
The lower face is where it is at the frame's expression. Erased from the input is the union of lower faces over a fixed
set of expressions at the same head pose, widened by a margin, so that it tells nothing of the frame's own expression.
Put back is what of the drawing goes into the frame.
"""

from dataclasses import dataclass

import torch

from cuda_ext import ops
from render.drawing.crop import CROP_SIZE
from render.drawing.masks import LOWER_FACE_REGIONS, MOUTH_REGIONS, pick_faces
from render.head.face_model import FaceModel

#: Side of the maps over uv that textures and banks are, texels.
TEXTURE_SIZE = 256


@dataclass(frozen=True)
class GBuffer:
    """What the face model shows at every pixel.

    Attributes:
        uv: [B, H, W, 2] in [0, 1], origin top left; 0 where empty. At the edge of a lip it is where that lip's own
            texels are sampled, see `LipSeam`.
        lower_face: [B, 1, H, W], 1 on the lower face.
        mouth: [B, 1, H, W], 1 on the lips and inside the mouth.
        covered: [B, 1, H, W], 1 where the model is seen at all.
        still: [B, 1, H, W], 1 on the skin that a dub leaves alone.
        depth: [B, H, W], z / w in [-1, 1]; 1 where empty.
    """

    uv: torch.Tensor
    lower_face: torch.Tensor
    mouth: torch.Tensor
    covered: torch.Tensor
    still: torch.Tensor
    depth: torch.Tensor

    def frames(self, chosen: slice | torch.Tensor) -> "GBuffer":
        """The same of some of its crops."""
        return GBuffer(**{name: value[chosen] for name, value in vars(self).items()})


def gbuffer(
    model: FaceModel, clip_vertices: torch.Tensor, size: int = CROP_SIZE, texels: int = TEXTURE_SIZE
) -> GBuffer:
    """Rasterize the face model.

    Args:
        model: the face model, on the vertices' device.
        clip_vertices: [B, V, 4] float32.
        size: px of the square crop.
        texels: side of the maps that are to be sampled by its uv.
    """
    raster = ops.rasterize(clip_vertices, model.faces, (size, size))
    uv = ops.interpolate(model.uv, raster, model.faces)
    if model.lip_seam:
        model.lip_seam.keep_apart(uv, raster.face_id, clip_vertices, texels)
    lower_face = pick_faces(model.faces_in(*LOWER_FACE_REGIONS), raster.face_id)
    mouth = pick_faces(model.faces_in(*MOUTH_REGIONS), raster.face_id)
    covered = (raster.face_id[:, None] >= 0).float()
    still = pick_faces(model.faces_in("skin_upper"), raster.face_id)
    return GBuffer(uv, lower_face, mouth, covered, still, raster.depth)
