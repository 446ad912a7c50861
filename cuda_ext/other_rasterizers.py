"""Other rasterizers behind the interface of `cuda_ext.ops.rasterize`: nvdiffrast and PyTorch3D, where installed.

In: clip-space vertices and faces; out: an `ops.Raster` in this project's conventions (row 0 at the top, face_id −1
where empty, barycentrics of vertices 0 and 1), differentiable as far as the backend is. Both are optional, built from
source by the user, and imported when first asked for. nvdiffrast runs on CUDA only and is licensed for non-commercial
use. `PEERS` has each one's own call made ready, for `cuda_ext.bench` to time.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from cuda_ext import ops
from cuda_ext.types import Raster

BACKENDS = ("ops", "nvdiffrast", "pytorch3d")


def rasterize(
    clip_positions: Tensor,
    faces: Tensor,
    resolution: tuple[int, int],
    *,
    backend: str = "ops",
    derivatives: bool = False,
) -> Raster:
    """Rasterize with the named backend.

    Args:
        clip_positions: [B, V, 4] float32 (`ops` also float64).
        faces: int32 [F, 3].
        resolution: (height, width), px.
        backend: "ops" (ours), "nvdiffrast" or "pytorch3d".
        derivatives: also the barycentrics' screen derivatives; not from PyTorch3D.

    Raises:
        ValueError: unknown backend, or one that cannot do what is asked.
        ModuleNotFoundError: the backend is not installed.
    """
    if backend == "ops":
        return ops.rasterize(clip_positions, faces, resolution, derivatives=derivatives)
    if backend == "nvdiffrast":
        return _nvdiffrast(clip_positions, faces, resolution, derivatives)
    if backend == "pytorch3d":
        if derivatives:
            raise ValueError("rasterize(): backend 'pytorch3d' has no derivatives; use 'ops' or 'nvdiffrast'")
        return _pytorch3d(clip_positions, faces, resolution)
    raise ValueError(f"rasterize(): 'backend' must be one of {list(BACKENDS)}, got {backend!r}")


def _missing(name: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"backend '{name}' needs the package {name}, built from its source; or use 'ops'")


@lru_cache
def _nvdiffrast_context(device: torch.device) -> Any:
    import nvdiffrast.torch as peer

    return peer.RasterizeCudaContext(device=device)


def nvdiffrast_call(
    clip_positions: Tensor, faces: Tensor, resolution: tuple[int, int], derivatives: bool = False
) -> Callable[[], tuple[Tensor, ...]]:
    """Make nvdiffrast ready for a mesh; the call answers in its own conventions.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        import nvdiffrast.torch as peer
    except ModuleNotFoundError:
        raise _missing("nvdiffrast") from None
    context = _nvdiffrast_context(clip_positions.device)
    return lambda: peer.rasterize(context, clip_positions, faces, resolution, grad_db=derivatives)


def _nvdiffrast(clip_positions: Tensor, faces: Tensor, resolution: tuple[int, int], derivatives: bool) -> Raster:
    """Undo its conventions: row 0 at the bottom, face index + 1, y derivatives upwards, depth 0 where empty."""
    pixels, slopes = nvdiffrast_call(clip_positions, faces, resolution, derivatives)()
    pixels = pixels.flip(1)
    face_id = pixels[..., 3].detach().round().int() - 1
    depth = torch.where(face_id >= 0, pixels[..., 2], 1)
    upright = slopes.detach().flip(1) * slopes.new_tensor([1.0, -1.0, 1.0, -1.0]) if derivatives else None
    return Raster(face_id, pixels[..., :2].contiguous(), depth, upright)


def pytorch3d_call(
    clip_positions: Tensor, faces: Tensor, resolution: tuple[int, int]
) -> Callable[[], tuple[Tensor, ...]]:
    """Make PyTorch3D ready for a mesh, which is also cut at the camera; the call answers in its own conventions.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
        from pytorch3d.structures import Meshes
    except ModuleNotFoundError:
        raise _missing("pytorch3d") from None
    height, width = resolution
    x, y, _, w = clip_positions.unbind(-1)
    shorter = min(height, width)
    corners = torch.stack([-x / w * (width / shorter), y / w * (height / shorter), w], dim=-1)
    meshes = Meshes(corners, faces.long().expand(len(corners), -1, -1))
    return lambda: rasterize_meshes(meshes, resolution, faces_per_pixel=1, perspective_correct=True, z_clip_value=1e-4)


def _pytorch3d(clip_positions: Tensor, faces: Tensor, resolution: tuple[int, int]) -> Raster:
    """Undo its conventions: x to the left, the shorter side from -1 to 1, depth is w, faces counted over the batch.

    It orders faces by w instead of z / w, which is the same for a perspective projection.
    """
    packed, _, weights, _ = pytorch3d_call(clip_positions, faces, resolution)()
    first = torch.arange(len(clip_positions), device=packed.device)[:, None, None] * faces.shape[0]
    covered = packed[..., 0] >= 0
    face_id = torch.where(covered, packed[..., 0] - first, -1).int()
    barycentrics = torch.where(covered[..., None], weights[..., 0, :2], 0).contiguous()
    raster = Raster(face_id, barycentrics, torch.ones_like(barycentrics[..., 0]))
    z, w_seen = ops.interpolate(clip_positions[..., 2:].contiguous(), raster, faces).unbind(-1)
    return raster._replace(depth=torch.where(covered, z / torch.where(covered, w_seen, 1), 1))


PEERS: dict[str, Callable[..., Callable[[], tuple[Tensor, ...]]]] = {
    "nvdiffrast": nvdiffrast_call,
    "pytorch3d": pytorch3d_call,
}
