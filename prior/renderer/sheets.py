"""Sheets: what was seen of the two sheets inside a mouth goes on over their next texels.

In: colours over uv with how well each texel was seen. Out: colours near to what was seen, and how much they count. What
borders on the lips hardly counts as seen; without this it takes the mean texture's colours, moved by a difference that
is mostly skin's, and orange or purple dots stand along the lips.
"""

import torch
import torch.nn.functional as F

from cuda_ext import ops
from render.drawing.masks import pick_faces
from render.head.face_model import FaceModel

#: What is seen by less borders on the lips, and is not carried on.
CARRIED_FROM = 0.05
#: Deviation and reach of the Gaussian by which colours go on, texels; from this mean weight on they count wholly.
CARRIED_TEXELS, REACH_TEXELS, CARRIED_WHOLLY = 2.5, 6, 0.05


def sheet_masks(model: FaceModel, texels: int) -> torch.Tensor:
    """Where the upper and the lower sheet lie in uv, [2, texels, texels] of 0 and 1."""
    flat = torch.stack([2 * model.uv[:, 0] - 1, 1 - 2 * model.uv[:, 1]], -1)
    at_uv = torch.cat([flat, torch.zeros_like(flat[:, :1]), torch.ones_like(flat[:, :1])], -1)
    raster = ops.rasterize(at_uv[None].contiguous(), model.faces, (texels, texels))
    masks = [pick_faces(model.faces_in(name), raster.face_id)[0, 0] for name in ("mouth_upper", "mouth_lower")]
    return torch.stack(masks)


def carried_on(rgb: torch.Tensor, seen: torch.Tensor, sheets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What is seen of each sheet, carried on over its next texels.

    Args:
        rgb: [P, bins, 3, H, W] sRGB, anything where nothing is seen.
        seen: [P, bins, 1, H, W] in [0, 1], how well each texel was seen.
        sheets: [2, H, W] of `sheet_masks`.

    Returns:
        Colours [P, bins, 3, H, W], and how much they count [P, bins, 1, H, W] in [0, 1]; 0 beside the sheets.
    """
    well = seen * (seen > CARRIED_FROM)
    colours, share = torch.zeros_like(rgb), torch.zeros_like(seen)
    for sheet in sheets:
        weight = _blurred(well * sheet)
        colours += _blurred(rgb * (well * sheet)) / weight.clamp(min=1e-6) * sheet
        share += (weight / CARRIED_WHOLLY).clamp(max=1) * sheet
    return colours, share


def _blurred(values: torch.Tensor) -> torch.Tensor:
    """Values [P, bins, C, H, W] by a Gaussian along rows and columns, 0 beyond the borders."""
    steps = torch.arange(-REACH_TEXELS, REACH_TEXELS + 1, device=values.device, dtype=values.dtype)
    kernel = torch.exp(-steps.square() / (2 * CARRIED_TEXELS**2))
    kernel = (kernel / kernel.sum())[None, None]
    planes = values.flatten(0, 2)[:, None]  # [N, 1, H, W]
    across = F.conv2d(planes, kernel[:, :, None], padding=(0, REACH_TEXELS))
    return F.conv2d(across, kernel[..., None], padding=(REACH_TEXELS, 0)).view_as(values)
