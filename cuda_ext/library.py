"""Loads the compiled ops and tells torch their gradients and output shapes.

Schemas and implementations are in csrc; `operators` holds them as torch sees them. For every op stand here what its
forward pass keeps (`_setup`), its gradients (`_backward`), and the shapes of its outputs (`_fake`, for tracing), which
takes what the schema says.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

BUILD = "build them: pip install --no-build-isolation -e ."


def _load_libraries(folder: Path) -> str:
    """Load what this version builds, and nothing that another left behind; returns why there are no CUDA ops, or ""."""
    cpu, cuda = (folder / f"{name}.abi3.so" for name in ("_cpu", "_cuda"))
    if not cpu.is_file():
        raise ImportError(f"the compiled ops are missing in {folder}; {BUILD}")
    try:
        torch.ops.load_library(str(cpu))
    except OSError as error:
        raise ImportError(f"the compiled ops do not load with torch {torch.__version__} ({error}); {BUILD}") from error
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is without CUDA"
    if not cuda.is_file():
        return f"the ops were built without CUDA; {BUILD}"
    try:
        torch.ops.load_library(str(cuda))
    except OSError as error:  # built for another torch: the CPU ops do without
        return f"the CUDA ops do not load with torch {torch.__version__} ({error}); {BUILD}"
    return ""


#: Why the ops do not run on CUDA; empty where they do.
NO_CUDA = _load_libraries(Path(__file__).parent)
operators = torch.ops.cuda_ext


@torch.library.register_fake("cuda_ext::check_mesh")
def _check_mesh_fake(*_: object) -> int:
    return 0  # there are no values to find a fault in


@torch.library.register_fake("cuda_ext::indices_inside")
def _indices_inside_fake(*_: object) -> bool:
    return True


def _rasterize_setup(ctx: Any, inputs: tuple, output: tuple) -> None:
    clip_positions, faces, *_, deterministic = inputs
    barycentrics, _, face_id, slopes = output
    ctx.mark_non_differentiable(face_id, slopes)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(clip_positions, faces, face_id, barycentrics)
    ctx.deterministic = deterministic


def _rasterize_backward(ctx: Any, grad_barycentrics: Any, grad_depth: Any, _face_id: Any, _slopes: Any) -> tuple:
    clip_positions, faces, face_id, barycentrics = ctx.saved_tensors
    if grad_barycentrics is None and grad_depth is None:
        return (None,) * 6
    grad_positions = operators.rasterize_backward(
        clip_positions,
        faces,
        face_id,
        barycentrics,
        torch.zeros_like(barycentrics) if grad_barycentrics is None else grad_barycentrics.contiguous(),
        None if grad_depth is None else grad_depth.contiguous(),
        ctx.deterministic,
    )
    return grad_positions, None, None, None, None, None


torch.library.register_autograd("cuda_ext::rasterize", _rasterize_backward, setup_context=_rasterize_setup)


@torch.library.register_fake("cuda_ext::rasterize")
def _rasterize_fake(
    clip_positions: Tensor, faces: Tensor, height: int, width: int, derivatives: bool, deterministic: bool
) -> tuple[Tensor, ...]:
    shape = (clip_positions.shape[0], height, width)
    return (
        clip_positions.new_empty((*shape, 2)),
        clip_positions.new_empty(shape),
        faces.new_empty(shape),
        clip_positions.new_empty((*shape, 4) if derivatives else (0,)),
    )


@torch.library.register_fake("cuda_ext::rasterize_backward")
def _rasterize_backward_fake(clip_positions: Tensor, *_: object) -> Tensor:
    return torch.empty_like(clip_positions)


def _interpolate_setup(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.deterministic = inputs[4]


def _interpolate_backward(ctx: Any, grad: Tensor) -> tuple:
    attributes, face_id, barycentrics, faces = ctx.saved_tensors
    grad_attributes, grad_barycentrics = operators.interpolate_backward(
        attributes, face_id, barycentrics, faces, grad.contiguous(), ctx.deterministic
    )
    return grad_attributes, None, grad_barycentrics, None, None


torch.library.register_autograd("cuda_ext::interpolate", _interpolate_backward, setup_context=_interpolate_setup)


@torch.library.register_fake("cuda_ext::interpolate")
def _interpolate_fake(attributes: Tensor, face_id: Tensor, *_: object) -> Tensor:
    return attributes.new_empty((*face_id.shape, attributes.shape[2]))


@torch.library.register_fake("cuda_ext::interpolate_backward")
def _interpolate_backward_fake(
    attributes: Tensor, face_id: Tensor, barycentrics: Tensor, *_: object
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(attributes), torch.empty_like(barycentrics)


def _texture_setup(ctx: Any, inputs: tuple, output: Tensor) -> None:
    texels, uv, uv_da, *ctx.sampler, ctx.deterministic = inputs
    ctx.save_for_backward(texels, uv, uv_da)


def _texture_backward(ctx: Any, grad: Tensor) -> tuple:
    texels, uv, uv_da = ctx.saved_tensors
    grad_texels, grad_uv = operators.texture_backward(
        texels, uv, uv_da, grad.contiguous(), *ctx.sampler, ctx.deterministic
    )
    return grad_texels, grad_uv, *(None,) * 7


torch.library.register_autograd("cuda_ext::texture", _texture_backward, setup_context=_texture_setup)


@torch.library.register_fake("cuda_ext::texture")
def _texture_fake(texels: Tensor, uv: Tensor, *_: object) -> Tensor:
    return texels.new_empty((*uv.shape[:3], texels.shape[2]))


@torch.library.register_fake("cuda_ext::texture_backward")
def _texture_backward_fake(texels: Tensor, uv: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(texels), torch.empty_like(uv)


def _shade_setup(ctx: Any, inputs: tuple, output: tuple) -> None:
    clip_positions, faces, vertex_uv, face_region, texels, _, _, *ctx.sampler, ctx.deterministic = inputs
    _, region, face_id, barycentrics, _ = output
    ctx.mark_non_differentiable(region, face_id)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(clip_positions, faces, vertex_uv, face_region, texels, face_id, barycentrics)


def _shade_backward(ctx: Any, *grads: Tensor | None) -> tuple:
    needed = (ctx.needs_input_grad[0], ctx.needs_input_grad[2], ctx.needs_input_grad[4])
    grad_features, _, _, grad_barycentrics, grad_depth = (None if g is None else g.contiguous() for g in grads)
    gradients = operators.shade_backward(
        *ctx.saved_tensors, grad_features, grad_barycentrics, grad_depth, *ctx.sampler, *needed, ctx.deterministic
    )
    positions, uv, texels = (g if need else None for g, need in zip(gradients, needed, strict=True))
    return positions, None, uv, None, texels, *(None,) * 8


torch.library.register_autograd("cuda_ext::shade", _shade_backward, setup_context=_shade_setup)


@torch.library.register_fake("cuda_ext::shade")
def _shade_fake(
    clip_positions: Tensor,
    faces: Tensor,
    vertex_uv: Tensor,
    face_region: Tensor,
    texels: Tensor,
    height: int,
    width: int,
    *_: int,
) -> tuple[Tensor, ...]:
    shape = (clip_positions.shape[0], height, width)
    return (
        texels.new_empty((*shape, texels.shape[2])),
        face_region.new_empty(shape),
        faces.new_empty(shape),
        clip_positions.new_empty((*shape, 2)),
        clip_positions.new_empty(shape),
    )


@torch.library.register_fake("cuda_ext::shade_backward")
def _shade_backward_fake(
    clip_positions: Tensor, faces: Tensor, vertex_uv: Tensor, face_region: Tensor, texels: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    inputs = zip((clip_positions, vertex_uv, texels), rest[-4:-1], strict=True)
    return tuple(torch.empty_like(x) if needed else x.new_empty(0) for x, needed in inputs)


def _antialias_setup(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.deterministic = inputs[6]


def _antialias_backward(ctx: Any, grad: Tensor) -> tuple:
    grad_image, grad_positions = operators.antialias_backward(*ctx.saved_tensors, grad.contiguous(), ctx.deterministic)
    return grad_image, None, None, grad_positions, None, None, None


torch.library.register_autograd("cuda_ext::antialias", _antialias_backward, setup_context=_antialias_setup)


@torch.library.register_fake("cuda_ext::antialias")
def _antialias_fake(image: Tensor, *_: object) -> Tensor:
    return torch.empty_like(image)


@torch.library.register_fake("cuda_ext::antialias_backward")
def _antialias_backward_fake(
    image: Tensor, face_id: Tensor, depth: Tensor, clip_positions: Tensor, *_: object
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(image), torch.empty_like(clip_positions)
