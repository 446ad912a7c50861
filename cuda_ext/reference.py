"""Pure-torch twins of the ops in `cuda_ext.ops`: slow, obvious, written from the definitions.

They are the specification and what the tests compare with, and refuse what the ops do. Gradients come from autograd.
Visibility is decided in float64 over every pixel and face, so keep meshes and images small.
"""

import math

import torch
from torch import Tensor

from cuda_ext import checks
from cuda_ext.types import MipStack, Raster, Shading, Surface

_WALK_FACES = 16  # faces walked through, at most, between two pixel centres, by antialias


def pixel_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Homogeneous pixel centres (x, y, 1), px, as [H, W, 3]."""
    y = torch.arange(height, dtype=like.dtype, device=like.device) + 0.5
    x = torch.arange(width, dtype=like.dtype, device=like.device) + 0.5
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows, torch.ones_like(rows)], dim=-1)


def homogeneous_pixels(clip_positions: Tensor, height: int, width: int) -> Tensor:
    """Clip positions [..., 4] to (x w, y w, w) with x, y in px, [..., 3]."""
    x, y, _, w = clip_positions.unbind(-1)
    return torch.stack([(x + w) * (0.5 * width), (w - y) * (0.5 * height), w], dim=-1)


def edge_forms(corners: Tensor) -> Tensor:
    """Linear forms a_k(p) = cross(q_k+1, q_k+2) . p of corners q [..., 3, 3]; barycentrics are a_k / sum a."""
    return torch.stack(
        [torch.linalg.cross(corners[..., (k + 1) % 3, :], corners[..., (k + 2) % 3, :]) for k in range(3)], -2
    )


def corner_positions(clip_positions: Tensor, faces: Tensor) -> Tensor:
    """Clip positions [V, 4] at the corners of faces [F, 3], as [F, 3, 4]."""
    return clip_positions[faces.long()]


def visible_faces(clip_positions: Tensor, faces: Tensor, height: int, width: int) -> Tensor:
    """Face seen at every pixel of one image, int64 [H, W], -1 where none, decided in float64.

    A face covers a pixel centre where the three perspective-correct barycentrics of the point under it are positive
    and that point has w > 0 and -w <= z <= w. On an edge, a left or top one belongs to the face.
    """
    corners = corner_positions(clip_positions.detach().double(), faces)
    points = pixel_centres(height, width, corners)
    pixels = homogeneous_pixels(corners, height, width)
    forms = edge_forms(pixels)  # [F, 3, 3]
    determinant = (forms[:, 0] * pixels[:, 0]).sum(-1)
    usable = (determinant != 0) & (1 / determinant).isfinite()
    edges = torch.einsum("fkc,hwc->fhwk", forms, points)  # [F, H, W, 3]
    total = edges.sum(-1, keepdim=True)
    weights = edges / total
    # Of a x + b y + c = 0 with the face where it is positive: left edges have a > 0, top ones a = 0, b > 0.
    slope = forms[:, None, None, :, :2] * total.sign()[..., None]
    top_left = (slope[..., 0] > 0) | ((slope[..., 0] == 0) & (slope[..., 1] > 0))
    inside = ((weights > 0) | ((weights == 0) & top_left)).all(-1)
    z, w = (torch.einsum("fhwk,fk->fhw", weights, corners[..., i]) for i in (2, 3))
    inside &= (w > 0) & (z >= -w) & (z <= w) & usable[:, None, None]
    plane = torch.einsum("fkc,fk->fc", forms, corners[..., 2]) / determinant[:, None]  # z / w is linear in the image
    depth = torch.einsum("fc,hwc->fhw", plane, points).float()
    depth = torch.where(inside, depth, math.inf)
    index = torch.arange(len(faces), device=faces.device)[:, None, None]
    none = torch.full((1, height, width), len(faces), device=faces.device)
    candidates = torch.where(inside & (depth == depth.amin(0, keepdim=True)), index, none) if len(faces) else none
    first = candidates.amin(0)
    return torch.where(first < len(faces), first, -1)


def face_lists(faces: Tensor, batch: int) -> Tensor:
    """Faces as one list per image, [B, F, 3]."""
    return faces.expand(batch, -1, -1) if faces.dim() == 2 else faces


def rasterize(
    clip_positions: Tensor, faces: Tensor, resolution: tuple[int, int], *, derivatives: bool = False
) -> Raster:
    """Twin of `ops.rasterize`."""
    height, width = checks.check_resolution("rasterize", resolution)
    checks.check_mesh("rasterize", clip_positions, faces, True)
    points = pixel_centres(height, width, clip_positions)
    images = []
    for positions, face_list in zip(clip_positions, face_lists(faces, len(clip_positions)), strict=True):
        visible = visible_faces(positions, face_list, height, width)
        covered = visible >= 0
        corners = corner_positions(positions, face_list)[visible[covered]]  # [N, 3, 4]
        forms = edge_forms(homogeneous_pixels(corners, height, width))  # [N, 3, 3]
        edges = (forms * points[covered][:, None]).sum(-1)  # [N, 3]
        total = edges.sum(-1, keepdim=True)
        weights = edges / total
        z, w = (weights * corners[..., 2]).sum(-1), (weights * corners[..., 3]).sum(-1)
        slopes = (forms[..., :2] - weights[..., None] * forms[..., :2].sum(1, keepdim=True)) / total[..., None]
        barycentrics = torch.zeros_like(points[..., :2]).masked_scatter(covered[..., None], weights[:, :2])
        depth = torch.ones_like(points[..., 0]).masked_scatter(covered, z / w)
        screen = (
            torch.zeros_like(points[..., :1])
            .repeat(1, 1, 4)
            .masked_scatter(covered[..., None], slopes[:, :2].detach().flatten(1))
        )
        images.append((visible.int(), barycentrics, depth, screen))
    if not images:
        empty = clip_positions.new_zeros(0, height, width, 4)
        return Raster(empty[..., 0].int(), empty[..., :2], empty[..., 0], empty if derivatives else None)
    face_id, barycentrics, depth, screen = (torch.stack(column) for column in zip(*images, strict=True))
    return Raster(face_id, barycentrics, depth, screen if derivatives else None)


def interpolate(attributes: Tensor, raster: Raster, faces: Tensor) -> Tensor:
    """Twin of `ops.interpolate`."""
    attributes = checks.check_attributes("interpolate", attributes, raster, faces, True)
    values = visible_corners(attributes, raster, faces)  # [B, H, W, 3, A]
    u, v = raster.barycentrics.unbind(-1)
    weights = torch.stack([u, v, 1 - u - v], dim=-1)
    mixed = (weights[..., None] * values).sum(-2)
    return torch.where(raster.face_id[..., None] >= 0, mixed, 0)


def attribute_derivatives(attributes: Tensor, raster: Raster, faces: Tensor) -> Tensor:
    """Twin of `ops.attribute_derivatives`: a = u p + v q + (1 - u - v) r, differentiated by x and y."""
    attributes = checks.check_attributes("attribute_derivatives", attributes, raster, faces, True)
    checks.check_slopes("attribute_derivatives", raster)
    assert raster.derivatives is not None
    p, q, r = visible_corners(attributes.detach(), raster, faces).unbind(-2)
    u_x, u_y, v_x, v_y = raster.derivatives[..., None].unbind(-2)
    along_x, along_y = u_x * (p - r) + v_x * (q - r), u_y * (p - r) + v_y * (q - r)
    slopes = torch.stack([along_x, along_y], dim=-1).flatten(-2)
    return torch.where(raster.face_id[..., None] >= 0, slopes, 0)


def visible_corners(attributes: Tensor, raster: Raster, faces: Tensor) -> Tensor:
    """Attributes [1 or B, V, A] at the corners of each pixel's face, [B, H, W, 3, A]; face 0 where empty."""
    batch, height, width = raster.face_id.shape
    if faces.shape[-2] == 0:
        return attributes.new_zeros(batch, height, width, 3, attributes.shape[-1])
    images = []
    for index, face_list in enumerate(face_lists(faces, batch)):
        vertices = face_list.long()[raster.face_id[index].clamp(min=0).long()]  # [H, W, 3]
        images.append(attributes[index if len(attributes) > 1 else 0][vertices])
    return torch.stack(images) if images else attributes.new_zeros(0, height, width, 3, attributes.shape[-1])


def mip_stack(feature_map: Tensor) -> MipStack:
    """Twin of `ops.mip_stack`."""
    checks.check_feature_map("mip_stack", feature_map)
    _, _, height, width = feature_map.shape
    levels, level = [], feature_map
    while True:
        levels.append(level.flatten(2).transpose(1, 2))
        if level.shape[2] % 2 or level.shape[3] % 2:
            return MipStack(torch.cat(levels, dim=1), height, width, len(levels))
        quads = level.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # [B, C, H/2, 2, W/2, 2]
        level = quads.mean(dim=(3, 5))


def texture(
    feature_map: Tensor,
    uv: Tensor,
    uv_da: Tensor | None = None,
    *,
    filter_mode: str = "bilinear",
    boundary_mode: str = "clamp",
    mips: MipStack | None = None,
) -> Tensor:
    """Twin of `ops.texture`."""
    checks.check_sampling("texture", feature_map, uv, uv_da, (filter_mode, boundary_mode), mips)
    batch, _, height, width = (len(uv), *feature_map.shape[1:])
    if filter_mode != "trilinear":
        level = feature_map.expand(batch, -1, -1, -1)
        sample = nearest_sample if filter_mode == "nearest" else bilinear_sample
        return sample(level, uv, boundary_mode)
    assert uv_da is not None
    mips = mip_stack(feature_map) if mips is None else mips
    position = mip_level(uv_da, height, width).clamp(max=mips.levels - 1)  # [B, H', W']
    result, first = torch.zeros_like(uv[:, None, :, :, 0]), 0
    for index in range(mips.levels):
        rows, columns = height >> index, width >> index
        texels = mips.texels[:, first : first + rows * columns]
        first += rows * columns
        level = texels.transpose(1, 2).unflatten(2, (rows, columns)).expand(batch, -1, -1, -1)
        share = (1 - (position - index).abs()).clamp(min=0)
        result = result + share[:, None] * bilinear_sample(level, uv, boundary_mode)
    return result


def mip_level(uv_da: Tensor, height: int, width: int) -> Tensor:
    """log2 of the largest singular value of d texel / d pixel, at least 0."""
    jacobian = uv_da.detach().unflatten(-1, (2, 2)) * uv_da.new_tensor([[width], [height]])
    return torch.linalg.matrix_norm(jacobian, ord=2).clamp(min=1).log2()


def bounded(index: Tensor, size: int, boundary_mode: str) -> Tensor:
    """Texel index inside the map."""
    return index % size if boundary_mode == "wrap" else index.clamp(0, size - 1)


def texel_at(level: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Texels of [B, C, H, W] at int64 [B, H', W'] rows and columns, [B, C, H', W']."""
    images = torch.arange(len(level), device=level.device)[:, None, None]
    return level[images, :, rows, columns].permute(0, 3, 1, 2)


def nearest_sample(level: Tensor, uv: Tensor, boundary_mode: str) -> Tensor:
    """The texel that holds uv."""
    height, width = level.shape[2:]
    columns = bounded((uv[..., 0] * width).floor().long(), width, boundary_mode)
    rows = bounded((uv[..., 1] * height).floor().long(), height, boundary_mode)
    return texel_at(level, rows, columns) + 0 * uv.sum(-1)[:, None]


def bilinear_sample(level: Tensor, uv: Tensor, boundary_mode: str) -> Tensor:
    """Mean of the four texels around uv, weighted by nearness."""
    height, width = level.shape[2:]
    x, y = uv[..., 0] * width - 0.5, uv[..., 1] * height - 0.5
    column, row = x.detach().floor(), y.detach().floor()
    result = torch.zeros_like(uv[:, None, :, :, 0])
    for down in (0, 1):
        for right in (0, 1):
            share = (1 - (x - column - right).abs()) * (1 - (y - row - down).abs())
            rows = bounded(row.long() + down, height, boundary_mode)
            columns = bounded(column.long() + right, width, boundary_mode)
            result = result + share[:, None] * texel_at(level, rows, columns)
    return result


def shade(clip_positions: Tensor, faces: Tensor, surface: Surface, resolution: tuple[int, int]) -> Shading:
    """Twin of `ops.shade`: the other twins one after the other."""
    resolution = checks.check_resolution("shade", resolution)
    checks.check_mesh("shade", clip_positions, faces, True)
    checks.check_surface("shade", surface, clip_positions, faces)
    raster = rasterize(clip_positions, faces, resolution, derivatives=True)
    uv = interpolate(surface.vertex_uv, raster, faces)
    uv_da = attribute_derivatives(surface.vertex_uv, raster, faces)
    features = texture(
        surface.feature_map,
        uv,
        uv_da,
        filter_mode=surface.filter_mode,
        boundary_mode=surface.boundary_mode,
        mips=surface.mips,
    )
    face_region = surface.face_region
    if face_region is None:
        face_region = torch.ones(faces.shape[-2], dtype=torch.uint8, device=faces.device)
    covered = raster.face_id >= 0
    region = torch.zeros_like(raster.face_id, dtype=torch.uint8)
    region[covered] = face_region[raster.face_id[covered].long()]
    return Shading(torch.where(region[:, None] > 0, features, 0), region, raster._replace(derivatives=None))


def edge_topology(faces: Tensor) -> Tensor:
    """Twin of `ops.edge_topology`, for faces [F, 3]."""
    checks.check_faces("edge_topology", faces, faces.shape[0] if isinstance(faces, Tensor) else 0, faces)
    sides: dict[tuple[int, int], list[int]] = {}
    for index, triple in enumerate(faces.tolist()):
        for k in range(3):
            edge = (min(triple[k - 2], triple[k - 1]), max(triple[k - 2], triple[k - 1]))
            sides.setdefault(edge, []).append(index)
    topology = torch.full_like(faces, -1)
    visits: dict[tuple[int, int], int] = {}
    for index, triple in enumerate(faces.tolist()):
        for k in range(3):
            edge = (min(triple[k - 2], triple[k - 1]), max(triple[k - 2], triple[k - 1]))
            if len(sides[edge]) == 2:
                topology[index, k] = sides[edge][1 - visits.get(edge, 0)]
            visits[edge] = visits.get(edge, 0) + 1
    return topology


def antialias(
    image: Tensor, raster: Raster, clip_positions: Tensor, faces: Tensor, topology: Tensor | None = None
) -> Tensor:
    """Twin of `ops.antialias`."""
    checks.check_mesh("antialias", clip_positions, faces, True)
    checks.check_outline("antialias", image, raster, clip_positions, faces, topology, True)
    result = image
    for down in (False, True):
        result = result + blends(image, raster, clip_positions, faces, topology, down)
    return result


def blends(
    image: Tensor, raster: Raster, clip_positions: Tensor, faces: Tensor, topology: Tensor | None, down: bool
) -> Tensor:
    """What blending every pixel with its right, or lower, neighbour adds to the image, [B, C, H, W]."""
    batch, height, width = raster.face_id.shape
    dim = 1 if down else 2
    count = raster.face_id.shape[dim] - 1
    first_id, second_id = raster.face_id.narrow(dim, 0, count), raster.face_id.narrow(dim, 1, count)
    depth = raster.depth.detach()
    nearer_first = depth.narrow(dim, 0, count) <= depth.narrow(dim, 1, count)
    added = []
    for index in range(batch):
        face_list = face_lists(faces, batch)[index]
        across_list = edge_topology(face_list) if topology is None else face_lists(topology, batch)[index]
        one, two = first_id[index], second_id[index]
        where = (one != two).nonzero()  # [N, 2] rows and columns of first pixels
        one, two, near = one[tuple(where.T)], two[tuple(where.T)], nearer_first[index][tuple(where.T)]
        front_first = (two < 0) | ((one >= 0) & near)
        here = where.flip(1).to(image.dtype) + 0.5
        there = here + image.new_tensor([0.0, 1.0] if down else [1.0, 0.0])
        p, q = torch.where(front_first[:, None], here, there), torch.where(front_first[:, None], there, here)
        front = torch.where(front_first, one, two).long()
        t, outline = outline_crossing(clip_positions[index], face_list, across_list, front, p, q, (height, width))
        second_takes = (t > 0.5) == front_first
        share = torch.where(outline, (t - 0.5).abs(), 0)
        other = where + where.new_tensor([1, 0] if down else [0, 1])
        taker = torch.where(second_takes[:, None], other, where)
        giver = torch.where(second_takes[:, None], where, other)
        colours = image[index].permute(1, 2, 0)  # [H, W, C]
        change = share[:, None] * (colours[tuple(giver.T)] - colours[tuple(taker.T)])
        added.append(torch.zeros_like(colours).index_put(tuple(taker.T), change, accumulate=True).permute(2, 0, 1))
    return torch.stack(added) if added else torch.zeros_like(image)


def outline_crossing(
    clip_positions: Tensor,
    faces: Tensor,
    topology: Tensor,
    front: Tensor,
    p: Tensor,
    q: Tensor,
    resolution: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Where the way from pixel centre p to q [N, 2], begun on the faces `front` [N], crosses an outline.

    Returns t of the way [N], and whether there is such an edge and it is steep enough, bool [N].
    """
    face, previous = front, torch.full_like(front, -1)
    walking, is_outline = torch.ones_like(front, dtype=torch.bool), torch.zeros_like(front, dtype=torch.bool)
    crossing = torch.full_like(p[:, 0], 0.5)
    one = torch.ones_like(p[:, :1])
    rows = torch.arange(len(front), device=front.device)
    for _ in range(_WALK_FACES):
        corners = homogeneous_pixels(clip_positions[faces.long()[face]], *resolution)  # [N, 3, 3]
        forms = edge_forms(corners)
        sign = torch.linalg.det(corners.detach()).sign()[:, None]
        at_p = sign * (forms * torch.cat([p, one], 1)[:, None]).sum(-1)  # [N, 3]
        at_q = sign * (forms * torch.cat([q, one], 1)[:, None]).sum(-1)
        inside = at_p.clamp(min=0)
        entered = (topology[face] == previous[:, None]) & (previous >= 0)[:, None]
        left = (at_q < 0) & ~entered
        t, edge = torch.where(left, inside / torch.where(left, inside - at_q, 1), 2).min(dim=1)
        walking = walking & (t <= 1)
        form = forms.detach()[rows, edge]
        following = topology[face].gather(1, edge[:, None])[:, 0].long()
        others = faces[following.clamp(min=0)].long()  # [N, 3]
        on_edge = (others[..., None] == edge_vertices(faces[face], edge)[:, None]).any(-1)
        far = others[rows, (~on_edge).int().argmax(1)]  # the corner that is not on the edge
        beyond = homogeneous_pixels(clip_positions.detach()[far], *resolution)
        goes_on = (following >= 0) & (sign[:, 0] * (form * beyond).sum(-1) < 0)
        steep = (form[:, 0].abs() >= form[:, 1].abs()) == (p[:, 1] == q[:, 1])  # followed along one axis only
        stops = walking & ~goes_on
        is_outline = is_outline | (stops & steep)
        crossing = torch.where(stops & steep, t, crossing)
        walking = walking & goes_on
        previous, face = torch.where(walking, face, previous), torch.where(walking, following, face)
    return crossing, is_outline


def edge_vertices(corners: Tensor, edge: Tensor) -> Tensor:
    """Vertices that edges [N] of faces [N, 3] join, [N, 2]."""
    return torch.stack([corners.gather(1, (edge[:, None] + k) % 3)[:, 0] for k in (1, 2)], dim=1).long()
