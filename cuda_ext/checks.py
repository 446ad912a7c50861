"""Checks of what the ops are given: one clear `ValueError`, `where` being the op's name.

They do not wait for a CUDA device, except where `validate` asks for it.
"""

from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from cuda_ext.library import operators
from cuda_ext.types import Raster, Surface

BOUNDARIES = {"wrap": 0, "clamp": 1}
MAX_SIZE = 16384  # px, keeps snapped edges exact in 64-bit integers


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
        height, width = (int(size) for size in resolution)
    except (TypeError, ValueError):
        raise ValueError(f"{where}(): 'resolution' must be (height, width), got {resolution!r}") from None
    if not (1 <= height <= MAX_SIZE and 1 <= width <= MAX_SIZE):
        raise ValueError(f"{where}(): 'resolution' must be 1 to {MAX_SIZE} px each, got {resolution!r}")
    return height, width


def check_floating(where: str, name: str, value: Any, form: str, dim: int) -> None:
    """A float32 or float64 tensor of `dim` dimensions."""
    if not isinstance(value, Tensor) or value.dtype not in (torch.float32, torch.float64) or value.dim() != dim:
        raise ValueError(f"{where}(): '{name}' must be float32 or float64 {form}, got {describe(value)}")


def check_contiguous(where: str, name: str, value: Tensor) -> None:
    """Row-major memory."""
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


def check_values(where: str, name: str, values: Tensor, faces: Tensor, validate: bool) -> None:
    """Refuse values that are not finite and indices out of range; on CUDA only where asked for: it waits."""
    if torch.compiler.is_compiling() or not (validate or values.device.type == "cpu"):
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


def check_attributes(where: str, attributes: Any, raster: Raster, faces: Any, validate: bool) -> Tensor:
    """Attributes for a raster; returns them as [1 or B, V, A]."""
    batch, height, width = raster.face_id.shape
    if isinstance(attributes, Tensor) and attributes.dim() == 2:
        attributes = attributes[None]
    check_tensor(where, "attributes", attributes, raster.barycentrics, (None, None, None))
    if attributes.shape[0] not in (1, batch):
        raise ValueError(f"{where}(): 'attributes' has batch {attributes.shape[0]}, the raster {batch}")
    check_faces(where, faces, batch, attributes)
    check_values(where, "attributes", attributes, faces, validate)
    return attributes


def check_surface(where: str, surface: Surface, clip_positions: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """A surface for a mesh; returns its uv as [1 or B, V, 2] and the faces' regions, uint8 [F]."""
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
    check_boundary(where, surface.boundary_mode)
    return vertex_uv, face_region.contiguous()


def check_feature_map(where: str, feature_map: Any) -> None:
    """[B or 1, C, H, W], not empty; on CUDA also float16."""
    half = isinstance(feature_map, Tensor) and feature_map.dtype == torch.float16
    if not (half and feature_map.device.type == "cuda" and feature_map.dim() == 4):
        check_floating(where, "feature_map", feature_map, "[B or 1, C, H, W]", 4)
    if 0 in feature_map.shape[1:]:
        raise ValueError(f"{where}(): 'feature_map' must not be empty, got {list(feature_map.shape)}")


def coordinate_dtype(feature_map: Tensor) -> torch.dtype:
    """Type of uv beside a feature map: float32 for float16."""
    return torch.float32 if feature_map.dtype == torch.float16 else feature_map.dtype


def check_boundary(where: str, boundary_mode: str) -> None:
    """One of the boundary modes."""
    if boundary_mode not in BOUNDARIES:
        raise ValueError(f"{where}(): 'boundary_mode' must be one of {list(BOUNDARIES)}, got {boundary_mode!r}")
