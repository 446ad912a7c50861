"""What the ops hand on to each other: a raster, a mip stack, fused shading. Plain frozen dataclasses of tensors."""

from typing import NamedTuple

from torch import Tensor


class Raster(NamedTuple):
    """What `rasterize` found at every pixel.

    Attributes:
        face_id: int32 [B, H, W], the visible face, -1 where empty.
        barycentrics: [B, H, W, 2], perspective-correct weights of the face's vertices 0 and 1; 0 where empty.
        depth: [B, H, W], z / w in [-1, 1], smaller is nearer; 1 where empty.
        derivatives: [B, H, W, 4] d barycentrics / d pixel (du/dx, du/dy, dv/dx, dv/dy; 1/px), or None. No gradient.
    """

    face_id: Tensor
    barycentrics: Tensor
    depth: Tensor
    derivatives: Tensor | None = None


class MipStack(NamedTuple):
    """Mip levels of a feature map, packed for `texture`.

    Attributes:
        texels: [B or 1, sum of height_l * width_l, C], level after level, each halving the one before.
        height: of level 0, texels.
        width: of level 0, texels.
        levels: how many.
    """

    texels: Tensor
    height: int
    width: int
    levels: int


class Shading(NamedTuple):
    """What `shade` returns.

    Attributes:
        features: [B, C, H, W] in channels-last memory, 0 where `region` is 0.
        region: uint8 [B, H, W], the visible face's label, 0 where empty. No gradient.
        raster: as from `rasterize`, without derivatives.
    """

    features: Tensor
    region: Tensor
    raster: Raster
