"""Checks of what the ops are given: one clear `ValueError`, `where` being the op's name.

`ops` and its twin refuse the same. Values are looked at on the CPU; on CUDA only where `validate` asks for it, as it
waits for the device. In a graph that `torch.compile` makes, shapes are checked when it is traced, and the values by the
compiled ops themselves, whose refusal is a `RuntimeError`.
"""

import operator
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from cuda_ext.library import operators
from cuda_ext.types import MipStack, Raster, Surface

BOUNDARIES = {"wrap": 0, "clamp": 1}
FILTERS = {"nearest": 0, "bilinear": 1, "trilinear": 2}
MAX_SIZE = 16384  # px, keeps snapped edges exact in 64-bit integers
MAX_TEXELS = (1 << 31) - 1  # of one feature map with its mip levels: texels are counted in int32


class MeshFault(IntEnum):
    """What the compiled `check_mesh` answers; of several faults the first."""

    NONE = 0
    NOT_FINITE = 1
    INDEX_OUTSIDE = 2


def describe(value: Any) -> str:
    """Type and shape of a tensor, or the value, for a message."""
    return (
        f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
    )


def check_resolution(where: str, resolution: Any) -> tuple[int, int]:
    """Height and width in range."""
    try:
        height, width = (operator.index(size) for size in resolution)
    except (TypeError, ValueError):
        raise ValueError(f"{where}(): 'resolution' must be (height, width), got {resolution!r}") from None
    if not (1 <= height <= MAX_SIZE and 1 <= width <= MAX_SIZE):
        raise ValueError(f"{where}(): 'resolution' must be 1 to {MAX_SIZE} px each, got {resolution!r}")
    return height, width


def check_floating(where: str, name: str, value: Any, form: str, dim: int) -> None:
    """A float32 or float64 tensor of `dim` dimensions."""
    if not isinstance(value, Tensor) or value.dtype not in (torch.float32, torch.float64) or value.dim() != dim:
        raise ValueError(f"{where}(): '{name}' must be float32 or float64 {form}, got {describe(value)}")
    check_dense(where, name, value)


def check_dense(where: str, name: str, value: Tensor) -> None:
    """A tensor with memory of its own, not a sparse one."""
    if value.layout is not torch.strided:
        raise ValueError(f"{where}(): '{name}' must be a dense tensor, got {value.layout}")


def check_contiguous(where: str, name: str, value: Tensor) -> None:
    """Row-major memory."""
    check_dense(where, name, value)
    if not value.is_contiguous():
        raise ValueError(f"{where}(): '{name}' must be contiguous, got strides {list(value.stride())}")


def check_tensor(
    where: str,
    name: str,
    value: Any,
    like: Tensor,
    shape: tuple[int | None, ...],
    dtype: torch.dtype | None = None,
) -> None:
    """Shape (None: any size), type (of `like` where not given), device and layout."""
    form = "[" + ", ".join("*" if size is None else str(size) for size in shape) + "]"
    fits = isinstance(value, Tensor) and value.dim() == len(shape)
    if not fits or any(want not in (None, got) for want, got in zip(shape, value.shape, strict=True)):
        raise ValueError(f"{where}(): '{name}' must be {form}, got {describe(value)}")
    check_same(where, name, value, like, dtype)
    check_contiguous(where, name, value)


def check_same(where: str, name: str, value: Tensor, like: Tensor, dtype: torch.dtype | None = None) -> None:
    """Type (of `like` where not given) and device."""
    dtype = like.dtype if dtype is None else dtype
    if value.dtype != dtype:
        raise ValueError(f"{where}(): '{name}' must be {dtype}, got {value.dtype}")
    check_device(where, name, value, like)


def check_device(where: str, name: str, value: Tensor, like: Tensor) -> None:
    """The device of `like`."""
    if value.device != like.device:
        raise ValueError(f"{where}(): '{name}' is on {value.device}, expected {like.device}")


def check_faces(where: str, faces: Any, batch: int, like: Tensor) -> None:
    """int32 [F, 3] or [B, F, 3]."""
    fits = isinstance(faces, Tensor) and faces.dtype == torch.int32 and faces.dim() in (2, 3) and faces.shape[-1] == 3
    if not fits:
        raise ValueError(f"{where}(): 'faces' must be int32 [F, 3] or [B, F, 3], got {describe(faces)}")
    if faces.dim() == 3 and faces.shape[0] != batch:
        raise ValueError(f"{where}(): 'faces' has batch {faces.shape[0]}, expected {batch}")
    check_device(where, "faces", faces, like)
    check_contiguous(where, "faces", faces)


def looks_at_values(value: Tensor, validate: bool) -> bool:
    """Whether values are checked here: on the CPU, and on CUDA where asked for; not while a graph is traced."""
    return not torch.compiler.is_compiling() and (value.is_cpu or (validate and value.is_cuda))


def check_values(where: str, name: str, values: Tensor, faces: Tensor, validate: bool) -> None:
    """Refuse values that are not finite and indices out of range."""
    if not looks_at_values(values, validate):
        return
    fault = operators.check_mesh(values, faces)
    if fault == MeshFault.NOT_FINITE:
        raise ValueError(f"{where}(): '{name}' holds a value that is not finite")
    if fault == MeshFault.INDEX_OUTSIDE:
        raise ValueError(f"{where}(): 'faces' must index the {values.shape[-2]} vertices of '{name}', got one outside")


def check_mesh(where: str, clip_positions: Any, faces: Any, validate: bool) -> None:
    """Clip positions [B, V, 4] and faces."""
    check_floating(where, "clip_positions", clip_positions, "[B, V, 4]", 3)
    if clip_positions.shape[2] != 4:
        raise ValueError(f"{where}(): 'clip_positions' must be [B, V, 4], got {list(clip_positions.shape)}")
    check_contiguous(where, "clip_positions", clip_positions)
    check_faces(where, faces, clip_positions.shape[0], clip_positions)
    check_values(where, "clip_positions", clip_positions, faces, validate)


def check_raster(where: str, raster: Any, faces: Any, validate: bool) -> None:
    """A raster and the faces that it shows."""
    if not isinstance(raster, Raster):
        raise ValueError(f"{where}(): 'raster' must be a Raster, got {describe(raster)}")
    check_floating(where, "raster.barycentrics", raster.barycentrics, "[B, H, W, 2]", 4)
    like, shape = raster.barycentrics, tuple(raster.barycentrics.shape[:3])
    check_tensor(where, "raster.barycentrics", like, like, (*shape, 2))
    check_tensor(where, "raster.face_id", raster.face_id, like, shape, torch.int32)
    check_tensor(where, "raster.depth", raster.depth, like, shape)
    if raster.derivatives is not None:
        check_tensor(where, "raster.derivatives", raster.derivatives, like, (*shape, 4))
    check_faces(where, faces, shape[0], like)
    check_face_indices(where, "raster.face_id", raster.face_id, faces, validate)


def check_face_indices(where: str, name: str, indices: Tensor, faces: Tensor, validate: bool) -> None:
    """Refuse what is neither a face nor -1."""
    if looks_at_values(indices, validate) and not operators.indices_inside(indices, -1, faces.shape[-2]):
        raise ValueError(f"{where}(): '{name}' must be -1 or index the {faces.shape[-2]} 'faces', got one outside")


def check_attributes(where: str, attributes: Any, raster: Any, faces: Any, validate: bool) -> Tensor:
    """Attributes for a raster; returns them as [1 or B, V, A]."""
    check_raster(where, raster, faces, validate)
    batch = raster.face_id.shape[0]
    if isinstance(attributes, Tensor) and attributes.dim() == 2:
        attributes = attributes[None]
    check_tensor(where, "attributes", attributes, raster.barycentrics, (None, None, None))
    if attributes.shape[0] not in (1, batch):
        raise ValueError(f"{where}(): 'attributes' has batch {attributes.shape[0]}, the raster {batch}")
    check_values(where, "attributes", attributes, faces, validate)
    return attributes


def check_outline(
    where: str, image: Any, raster: Any, clip_positions: Tensor, faces: Tensor, topology: Any, validate: bool
) -> None:
    """An image [B, C, H, W] of a raster of a checked mesh, and the mesh's edge topology or None."""
    check_raster(where, raster, faces, validate)
    shape = raster.face_id.shape
    check_same(where, "raster.barycentrics", raster.barycentrics, clip_positions)
    check_floating(where, "image", image, "[B, C, H, W]", 4)
    check_same(where, "image", image, clip_positions)
    if (image.shape[0], *image.shape[2:]) != tuple(shape) or shape[0] != clip_positions.shape[0]:
        raise ValueError(f"{where}(): 'image' must be [B, C, H, W] of the raster {list(shape)}, got {describe(image)}")
    if topology is None:
        return
    if not isinstance(topology, Tensor) or topology.dtype != torch.int32 or topology.shape != faces.shape:
        raise ValueError(f"{where}(): 'topology' must be edge_topology(faces), got {describe(topology)}")
    check_device(where, "topology", topology, faces)
    check_contiguous(where, "topology", topology)
    check_face_indices(where, "topology", topology, faces, validate)


def check_surface(where: str, surface: Any, clip_positions: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """A surface for a mesh; returns its uv as [1 or B, V, 2] and the faces' regions, uint8 [F]."""
    if not isinstance(surface, Surface):
        raise ValueError(f"{where}(): 'surface' must be a Surface, got {describe(surface)}")
    vertex_uv, feature_map, face_region = surface.vertex_uv, surface.feature_map, surface.face_region
    batch, face_count = clip_positions.shape[0], faces.shape[-2]
    if isinstance(vertex_uv, Tensor) and vertex_uv.dim() == 2:
        vertex_uv = vertex_uv[None]
    check_tensor(where, "vertex_uv", vertex_uv, clip_positions, (None, clip_positions.shape[1], 2))
    check_feature_map(where, feature_map)
    for name, value in (("vertex_uv", vertex_uv), ("feature_map", feature_map)):
        if value.shape[0] not in (1, batch):
            raise ValueError(f"{where}(): '{name}' has batch {value.shape[0]}, 'clip_positions' {batch}")
    half = feature_map.dtype == torch.float16 and clip_positions.dtype == torch.float32
    check_same(where, "feature_map", feature_map, clip_positions, torch.float16 if half else None)
    if face_region is None:
        face_region = torch.ones(face_count, dtype=torch.uint8, device=faces.device)
    if not isinstance(face_region, Tensor) or face_region.dtype != torch.uint8 or face_region.shape != (face_count,):
        raise ValueError(f"{where}(): 'face_region' must be uint8 [{face_count}], got {describe(face_region)}")
    check_device(where, "face_region", face_region, clip_positions)
    check_dense(where, "face_region", face_region)
    check_modes(where, surface.filter_mode, surface.boundary_mode)
    check_mips(where, surface.mips, feature_map)
    return vertex_uv, face_region.contiguous()


def check_feature_map(where: str, feature_map: Any) -> None:
    """[B or 1, C, H, W], not empty; on CUDA also float16."""
    half = isinstance(feature_map, Tensor) and feature_map.dtype == torch.float16
    if not (half and feature_map.device.type == "cuda" and feature_map.dim() == 4):
        check_floating(where, "feature_map", feature_map, "[B or 1, C, H, W]", 4)
    check_dense(where, "feature_map", feature_map)
    if 0 in feature_map.shape[1:]:
        raise ValueError(f"{where}(): 'feature_map' must not be empty, got {list(feature_map.shape)}")
    height, width = feature_map.shape[2:]
    if sum(rows * columns for rows, columns in level_sizes(height, width)) > MAX_TEXELS:
        raise ValueError(f"{where}(): 'feature_map' has more than {MAX_TEXELS} texels: {list(feature_map.shape)}")


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Height and width of every mip level: halved while both are even."""
    sizes = [(height, width)]
    while sizes[-1][0] % 2 == 0 and sizes[-1][1] % 2 == 0:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


def check_mips(where: str, mips: Any, feature_map: Tensor) -> None:
    """None, or the mip stack of a checked feature map."""
    if mips is None:
        return
    if not isinstance(mips, MipStack):
        raise ValueError(f"{where}(): 'mips' must be a MipStack, got {describe(mips)}")
    batch, channels, height, width = feature_map.shape
    sizes = level_sizes(height, width)
    if tuple(mips[1:]) != (height, width, len(sizes)):
        raise ValueError(f"{where}(): 'mips' do not belong to 'feature_map' {list(feature_map.shape)}")
    count = sum(rows * columns for rows, columns in sizes)
    check_tensor(where, "mips.texels", mips.texels, feature_map, (batch, count, channels))


def check_sampling(where: str, feature_map: Any, uv: Any, uv_da: Any, modes: tuple[Any, Any], mips: Any) -> None:
    """A feature map, where it is sampled, and how: filter and boundary mode."""
    check_feature_map(where, feature_map)
    check_modes(where, *modes)
    check_mips(where, mips, feature_map)
    coordinates = coordinate_dtype(feature_map)
    check_tensor(where, "uv", uv, feature_map, (None, None, None, 2), coordinates)
    if feature_map.shape[0] not in (1, uv.shape[0]):
        raise ValueError(f"{where}(): 'feature_map' has batch {feature_map.shape[0]}, 'uv' {uv.shape[0]}")
    if modes[0] != "trilinear":
        return
    if uv_da is None:
        raise ValueError(f"{where}(): filter_mode 'trilinear' needs 'uv_da'")
    check_tensor(where, "uv_da", uv_da, feature_map, (*uv.shape[:3], 4), coordinates)


def coordinate_dtype(feature_map: Tensor) -> torch.dtype:
    """Type of uv beside a feature map: float32 for float16."""
    return torch.float32 if feature_map.dtype == torch.float16 else feature_map.dtype


def check_modes(where: str, filter_mode: Any, boundary_mode: Any) -> None:
    """One of the filter modes, one of the boundary modes."""
    for name, mode, known in (("filter_mode", filter_mode, FILTERS), ("boundary_mode", boundary_mode, BOUNDARIES)):
        if mode not in tuple(known):
            raise ValueError(f"{where}(): '{name}' must be one of {list(known)}, got {mode!r}")


def check_slopes(where: str, raster: Raster) -> None:
    """A raster with derivatives."""
    if raster.derivatives is None:
        raise ValueError(f"{where}(): 'raster' has no derivatives: rasterize(..., derivatives=True)")
