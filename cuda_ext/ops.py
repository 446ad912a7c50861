"""Differentiable rasterizer ops on torch tensors, CPU and CUDA.

    raster = rasterize(clip_positions, faces, (height, width))          # who is seen where
    uv = interpolate(vertex_uv, raster, faces)                          # [B, H, W, 2]
    features = texture(feature_map, uv)                                 # [B, C, H, W]
    mips = mip_stack(feature_map)                                       # once per feature map
    uv_da = attribute_derivatives(vertex_uv, raster, faces)             # needs rasterize(..., derivatives=True)
    features = texture(feature_map, uv, uv_da, filter_mode="trilinear", mips=mips)

    surface = Surface(vertex_uv, feature_map, face_region)              # what is painted where
    shading = shade(clip_positions, faces, surface, (height, width))
    shading.features, shading.region, shading.raster                    # the above in one pass, with masks

    topology = edge_topology(faces)                                     # once per mesh
    image = antialias(image, raster, clip_positions, faces, topology)   # smooth outlines, gradients to positions

Conventions: clip space x right, y up, z in [-w, w], smaller z / w is nearer; image row 0 is the top, the centre of a
pixel is (column + 0.5, row + 0.5); uv origin top left, texel centres at (i + 0.5) / width. Images and feature maps are
[B, C, H, W] in channels-last memory (any memory format is accepted, channels-last is not copied); what belongs to a
pixel of the raster is [B, H, W, K]. Tensors are float32 or float64 (feature maps on CUDA also float16, beside float32
coordinates), faces and face_id int32. A mesh's faces may be shared [F, 3] or one list per image [B, F, 3].

The specification of each op is its twin in `cuda_ext.reference`. On the CPU the same inputs give the same bytes,
whatever the number of threads; on CUDA `deterministic=True` asks for that.
"""

import torch
from torch import Tensor

from cuda_ext import checks
from cuda_ext.library import operators
from cuda_ext.types import MipStack, Raster, Shading, Surface


def rasterize(
    clip_positions: Tensor,
    faces: Tensor,
    resolution: tuple[int, int],
    *,
    derivatives: bool = False,
    deterministic: bool = False,
    validate: bool = False,
) -> Raster:
    """Find the nearest face at every pixel centre.

    Faces are clipped at the near and far plane, drawn from both sides, and watertight: a pixel centre on a shared edge
    belongs to exactly one of the two (top-left rule). Edges are snapped to 1/4096 px; depths are compared after
    rounding to float32, and the lower face index wins a tie. Gradients reach `clip_positions` through barycentrics and
    depth.

    Args:
        clip_positions: [B, V, 4] float32 or float64.
        faces: int32 [F, 3] or [B, F, 3].
        resolution: (height, width), px, at most 16384 each.
        derivatives: also compute `Raster.derivatives`.
        deterministic: on CUDA, sum gradients in a fixed order.
        validate: on CUDA, check indices and positions, which waits for the device. On the CPU they always are.

    Raises:
        ValueError: wrong type, shape, device or layout, a position that is not finite, an index out of range.
    """
    height, width = checks.check_resolution("rasterize", resolution)
    checks.check_mesh("rasterize", clip_positions, faces, validate)
    barycentrics, depth, face_id, slopes = operators.rasterize(
        clip_positions, faces, height, width, derivatives, deterministic
    )
    return Raster(face_id, barycentrics, depth, slopes if derivatives else None)


def interpolate(
    attributes: Tensor, raster: Raster, faces: Tensor, *, deterministic: bool = False, validate: bool = False
) -> Tensor:
    """Interpolate vertex attributes over the visible faces; differentiable in both.

    Args:
        attributes: [V, A], [1, V, A] or [B, V, A], same type as the raster.
        raster: from `rasterize`.
        faces: the faces given to it.
        deterministic: on CUDA, sum gradients in a fixed order.
        validate: on CUDA, check indices, the raster's too, which waits for the device. On the CPU they always are.

    Returns:
        [B, H, W, A], 0 where empty.

    Raises:
        ValueError: wrong type, shape, device or layout, an index out of range.
    """
    attributes = checks.check_attributes("interpolate", attributes, raster, faces, validate)
    return operators.interpolate(attributes, raster.face_id, raster.barycentrics, faces, deterministic)


def attribute_derivatives(attributes: Tensor, raster: Raster, faces: Tensor) -> Tensor:
    """Change of interpolated attributes from pixel to pixel, as `texture` wants it for uv; no gradient.

    Args:
        attributes: [V, A], [1, V, A] or [B, V, A].
        raster: from `rasterize(..., derivatives=True)`.
        faces: the faces given to it.

    Returns:
        [B, H, W, 2 A]: d attribute 0 / dx, d attribute 0 / dy, d attribute 1 / dx, ... per px; 0 where empty.

    Raises:
        ValueError: as `interpolate`, or the raster has no derivatives.
    """
    attributes = checks.check_attributes("attribute_derivatives", attributes, raster, faces, False)
    checks.check_slopes("attribute_derivatives", raster)
    assert raster.derivatives is not None
    batch, height, width = raster.face_id.shape
    with torch.no_grad():
        face_lists = faces.long().expand(batch, -1, 3) if faces.dim() == 2 else faces.long()
        if face_lists.shape[1] == 0:
            return attributes.new_zeros(batch, height, width, 2 * attributes.shape[2])
        index = torch.arange(batch, device=faces.device)[:, None, None]
        corners = face_lists[index, raster.face_id.clamp(min=0).long()]  # [B, H, W, 3]
        values = attributes.expand(batch, -1, -1)[index[..., None], corners]  # [B, H, W, 3, A]
        edges = values[..., :2, :] - values[..., 2:, :]  # [B, H, W, 2, A]
        slopes = raster.derivatives.view(batch, height, width, 2, 2)  # (u, v) by (x, y)
        return torch.einsum("bhwka,bhwkx->bhwax", edges, slopes).reshape(batch, height, width, -1)


def mip_stack(feature_map: Tensor) -> MipStack:
    """Halve a feature map by 2 x 2 means while both sides are even; differentiable.

    Args:
        feature_map: [B or 1, C, H, W], float32 or float64, on CUDA also float16.

    Raises:
        ValueError: wrong type or shape.
    """
    checks.check_feature_map("mip_stack", feature_map)
    levels = [feature_map.contiguous(memory_format=torch.channels_last)]
    for _ in checks.level_sizes(*feature_map.shape[2:])[1:]:
        levels.append(torch.nn.functional.avg_pool2d(levels[-1], 2))
    packed = torch.cat([_texels(level) for level in levels], dim=1)
    return MipStack(packed, feature_map.shape[2], feature_map.shape[3], len(levels))


def texture(
    feature_map: Tensor,
    uv: Tensor,
    uv_da: Tensor | None = None,
    *,
    filter_mode: str = "bilinear",
    boundary_mode: str = "clamp",
    mips: MipStack | None = None,
    deterministic: bool = False,
) -> Tensor:
    """Sample a feature map; differentiable in the map and in uv (not in uv_da).

    Args:
        feature_map: [B or 1, C, H, W].
        uv: [B, H', W', 2], origin top left.
        uv_da: [B, H', W', 4] du/dx, du/dy, dv/dx, dv/dy per px; for trilinear only.
        filter_mode: "nearest", "bilinear" or "trilinear" (the mip level is log2 of the longer axis of the footprint).
        boundary_mode: "clamp" or "wrap".
        mips: `mip_stack(feature_map)`, for trilinear; built here where not given.
        deterministic: on CUDA, sum gradients in a fixed order.

    Returns:
        [B, C, H', W'] in channels-last memory.

    Raises:
        ValueError: wrong type, shape, device or mode.
    """
    checks.check_sampling("texture", feature_map, uv, uv_da, (filter_mode, boundary_mode), mips)
    texels, height, width, levels = _choose_texels(feature_map, filter_mode, mips)
    sampled = operators.texture(
        texels,
        uv,
        uv_da.detach() if uv_da is not None and filter_mode == "trilinear" else None,
        height,
        width,
        levels,
        checks.FILTERS[filter_mode],
        checks.BOUNDARIES[boundary_mode],
        deterministic,
    )
    return sampled.permute(0, 3, 1, 2)


def shade(
    clip_positions: Tensor,
    faces: Tensor,
    surface: Surface,
    resolution: tuple[int, int],
    *,
    deterministic: bool = False,
    validate: bool = False,
) -> Shading:
    """Rasterize, interpolate uv and sample a feature map in one pass; differentiable in positions, uv and map.

    The same as `rasterize`, `interpolate`, `texture` one after the other, then zeroed where the region is 0. A face of
    region 0 hides what is behind it and is not sampled; other labels are the caller's, for masks.

    Args:
        clip_positions: [B, V, 4] float32 or float64.
        faces: int32 [F, 3] or [B, F, 3].
        surface: the vertices' uv, the feature map and how it is sampled, the faces' regions.
        resolution: (height, width), px.
        deterministic: on CUDA, sum gradients in a fixed order.
        validate: on CUDA, check indices and positions, which waits for the device. On the CPU they always are.

    Raises:
        ValueError: wrong type, shape, device, layout or mode, a position that is not finite, an index out of range.
    """
    where = "shade"
    height, width = checks.check_resolution(where, resolution)
    checks.check_mesh(where, clip_positions, faces, validate)
    vertex_uv, face_region = checks.check_surface(where, surface, clip_positions, faces)
    texels, *map_shape = _choose_texels(surface.feature_map, surface.filter_mode, surface.mips)
    features, region, *raster = operators.shade(
        clip_positions,
        faces,
        vertex_uv,
        face_region,
        texels,
        height,
        width,
        *map_shape,
        checks.FILTERS[surface.filter_mode],
        checks.BOUNDARIES[surface.boundary_mode],
        deterministic,
    )
    return Shading(features.permute(0, 3, 1, 2), region, Raster(*raster))


def edge_topology(faces: Tensor) -> Tensor:
    """Find, for every edge of every face, the face on its other side; once per mesh, for `antialias`.

    Args:
        faces: int32 [F, 3] or [B, F, 3].

    Returns:
        int32 of the same shape: entry k belongs to the edge between corners k + 1 and k + 2 and is the index of the
        other face that has it, -1 where there is none, or more than one.

    Raises:
        ValueError: wrong type or shape.
    """
    checks.check_faces("edge_topology", faces, faces.shape[0] if isinstance(faces, Tensor) else 0, faces)
    if faces.dim() == 3:
        return torch.stack([edge_topology(face_list) for face_list in faces]) if len(faces) else faces.clone()
    vertices = faces.long()
    from_vertex, to_vertex = vertices.roll(-1, 1).flatten(), vertices.roll(-2, 1).flatten()
    low, high = torch.minimum(from_vertex, to_vertex), torch.maximum(from_vertex, to_vertex)
    key, order = torch.sort(low * (1 << 31) + high, stable=True)
    other = (order // 3).int()
    # A pair is two equal keys with different ones before and after.
    pad = key.new_full((1,), -1)
    before, after = torch.cat([pad, key[:-1]]), torch.cat([key[1:], pad])
    twice_before, twice_after = torch.cat([pad, before[:-1]]), torch.cat([after[1:], pad])
    first = (key == after) & (key != before) & (key != twice_after)
    second = (key == before) & (key != after) & (key != twice_before)
    partner = torch.where(first, other.roll(-1), torch.where(second, other.roll(1), -1))
    return torch.empty_like(other).scatter_(0, order, partner).view_as(faces)


def antialias(
    image: Tensor,
    raster: Raster,
    clip_positions: Tensor,
    faces: Tensor,
    topology: Tensor | None = None,
    *,
    deterministic: bool = False,
    validate: bool = False,
) -> Tensor:
    """Blend pixels across the outlines of the mesh; differentiable in the image and in positions.

    Where two neighbouring pixels show different faces, the mesh is followed from the nearer one towards the other
    pixel's centre. If an edge crossed on the way is part of an outline (no face across it, or one folded back) and
    steeper than 45 degrees to the way, then, with t the share of the way before it, the front colour covers t - 1/2 of
    the other pixel (t > 1/2), or the other colour 1/2 - t of the front pixel. So the sum of an image changes as the
    area of the mesh does, and a loss on the image moves outlines.

    Args:
        image: [B, C, H, W], same type as the raster.
        raster: from `rasterize` or `shade`.
        clip_positions: [B, V, 4], as given to it.
        faces: int32 [F, 3] or [B, F, 3], as given to it.
        topology: `edge_topology(faces)`; found here where not given.
        deterministic: on CUDA, sum gradients in a fixed order.
        validate: on CUDA, check indices and positions, which waits for the device. On the CPU they always are.

    Returns:
        [B, C, H, W] in channels-last memory.

    Raises:
        ValueError: wrong type, shape, device or layout, a position that is not finite, an index out of range.
    """
    where = "antialias"
    checks.check_mesh(where, clip_positions, faces, validate)
    checks.check_outline(where, image, raster, clip_positions, faces, topology, validate)
    topology = edge_topology(faces) if topology is None else topology
    channels_last = image.permute(0, 2, 3, 1).contiguous()
    depth = raster.depth.detach()
    out = operators.antialias(channels_last, raster.face_id, depth, clip_positions, faces, topology, deterministic)
    return out.permute(0, 3, 1, 2)


def _texels(feature_map: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H * W, C], a view where the map is in channels-last memory."""
    batch, channels, height, width = feature_map.shape
    channels_last = feature_map.contiguous(memory_format=torch.channels_last)
    return channels_last.permute(0, 2, 3, 1).reshape(batch, height * width, channels)


def _choose_texels(feature_map: Tensor, filter_mode: str, mips: MipStack | None) -> MipStack:
    if filter_mode != "trilinear":
        return MipStack(_texels(feature_map), feature_map.shape[2], feature_map.shape[3], 1)
    return mip_stack(feature_map) if mips is None else mips
