"""Region: which part of the new mouth is put back, as masks from the face model's geometry.

`lower-face` is all that the renderer may paint; `mouth` lips, the skin between nose and chin's boss, and the corners;
`lips` the lips and what is inside them. Both hold the source's own lips as well as the new ones, so that no old lip
stays beside the new.
"""

import torch

from render.gbuffer import CROP_SIZE, dilate

#: Widening beyond lips and mouth, px of a 256 px crop; None for everything that may be painted.
MARGIN_PX = {"lips": 12, "mouth": 22, "lower-face": None}
REGIONS = tuple(MARGIN_PX)
DEFAULT = "lower-face"


def region_mask(mouth: torch.Tensor, paste: torch.Tensor, region: str) -> torch.Tensor:
    """The part of *paste* that a region leaves, [N, 1, H, W].

    Args:
        mouth: [N, 1, H, W] lips and mouth, those of the source and those that are drawn.
        paste: [N, 1, H, W] of `render.gbuffer.paste_mask`.
        region: of `REGIONS`.
    """
    margin = MARGIN_PX[region]
    return paste if margin is None else dilate(mouth, margin * paste.shape[-1] // CROP_SIZE) * paste
