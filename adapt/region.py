"""Region: which part of the new mouth is put back, as masks from the face model's geometry.

`lower-face` is all that the renderer may paint; `mouth` lips, the skin between nose and chin's boss, and the corners;
`lips` the lips and what is inside them. Both hold the source's own lips as well as the new ones, so that no old lip
stays beside the new.
"""

import torch

from render.face_model import FaceModel
from render.gbuffer import CROP_SIZE, dilate, gbuffer
from render.track import Track

#: Widening beyond lips and mouth, px of a 256 px crop; None for everything that may be painted.
MARGIN_PX = {"lips": 10, "mouth": 22, "lower-face": None}
REGIONS = tuple(MARGIN_PX)
DEFAULT = "lower-face"


def region_mask(
    model: FaceModel, track: Track, frames: torch.Tensor, new_mouth: torch.Tensor, paste: torch.Tensor, region: str
) -> torch.Tensor:
    """The part of *paste* that a region leaves, [N, 1, H, W].

    Args:
        model: the face model.
        track: of the source.
        frames: [N] int64.
        new_mouth: [N, 1, H, W] lips and mouth at the expression that is drawn.
        paste: [N, 1, H, W] of `render.gbuffer.paste_mask`.
        region: of `REGIONS`.
    """
    margin = MARGIN_PX[region]
    if margin is None:
        return paste
    size = paste.shape[-1]
    # One frame at a time: products of another size round differently, and batches would show.
    own = [gbuffer(model, track.clip_vertices(model, frame[None]), size).mouth for frame in frames]
    return dilate(torch.maximum(new_mouth, torch.cat(own)), margin * size // CROP_SIZE) * paste
