"""What the ops hand on to each other: a raster, a mip stack, a surface, fused shading; tensors held together."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Raster(NamedTuple):
    """What `rasterize` returns for every pixel.

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


@dataclass(frozen=True)
class Surface:
    """What `shade` interpolates over a mesh, and what it looks up there.

    Attributes:
        vertex_uv: [V, 2], [1, V, 2] or [B, V, 2], origin top left.
        feature_map: [B or 1, C, H', W']; one for all images, or one each.
        face_region: uint8 [F] label per face; 1 everywhere where not given.
        filter_mode: "nearest", "bilinear" or "trilinear".
        boundary_mode: "clamp" or "wrap".
        mips: `mip_stack(feature_map)`, for trilinear; built by `shade` where not given.
    """

    vertex_uv: Tensor
    feature_map: Tensor
    face_region: Tensor | None = None
    filter_mode: str = "bilinear"
    boundary_mode: str = "clamp"
    mips: MipStack | None = None


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
