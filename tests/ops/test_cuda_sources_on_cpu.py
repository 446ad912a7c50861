"""The CUDA sources, run on the CPU thread by thread (cuda_on_cpu.h), against the CPU ops.

This checks their arithmetic, indexing and order independence on machines without a GPU; not races, memory spaces or
speed.
"""

import ctypes
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cuda_ext import ops
from cuda_ext.bench import ellipsoid
from cuda_ext.checks import MeshFault
from cuda_ext.types import MipStack
from tests.ops.closeness import assert_close
from tests.ops.scenes import random_triangles

CSRC = Path(ops.__file__).parent / "csrc"
CPU = torch.ops.cuda_ext


def without_launches(source: str) -> str:
    """Rewrite `kernel<<<grid, block, 0, stream>>>(args)` as `run_on_cpu(grid, block, [&] { kernel(args); })`."""
    while found := re.search(r"(\w+)<<<(.*?), 0, stream>>>\(", source, re.DOTALL):
        end, depth = found.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(source[end], 0)
            end += 1
        call = f"run_on_cpu({found[2]}, [&] {{ {found[1]}({source[found.end() : end]}; }})"
        source = source[: found.start()] + call + source[end:]
    return source


@pytest.fixture(scope="module")
def cuda(compile_once: Callable[..., Path]) -> SimpleNamespace:
    """The ops of the CUDA sources for CPU tensors, and `set_backwards`."""
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    sources = {path.name: path.read_text() for path in CSRC.glob("*.h")}
    sources["cuda_runtime.h"] = Path(__file__).with_name("cuda_on_cpu.h").read_text()
    sources["cuda_fp16.h"] = "#pragma once\n"
    for path in CSRC.glob("*.cuh"):
        text = without_launches(path.read_text())
        text = re.sub(
            r"using torch::stable::accelerator::DeviceGuard;", "struct DeviceGuard { DeviceGuard(int) {} };", text
        )
        text = re.sub(r"aoti_torch_get_current_cuda_stream\(.*?\) == 0", "true", text)
        sources[path.name] = text
    unit = "".join(without_launches(path.read_text()) for path in sorted(CSRC.glob("*_cuda.cu")))
    unit = unit.replace("(cuda_ext, CUDA, m)", "(cuda_on_cpu, CPU, m)")
    schemas = (CSRC / "library.cpp").read_text().replace("(cuda_ext, m)", "(cuda_on_cpu, m)")
    sources["unit.cpp"] = '#include "cuda_runtime.h"\n' + unit + schemas
    package = Path(torch.__file__).parent
    include = [".", package / "include", package / "include/torch/csrc/api/include"]
    flags = ["-shared", "-O0", "-std=c++17", "-fwrapv", "-ffp-contract=off", "-fPIC", "-pthread"]
    macro = "-DTORCH_TARGET_VERSION=0x020a000000000000"
    libraries = [f"-L{package / 'lib'}", "-ltorch_cpu", "-lc10"]
    command = ["g++", *flags, macro, *(f"-I{path}" for path in include), "unit.cpp", *libraries]
    library = str(compile_once(sources, command, "cuda_on_cpu.so"))
    torch.ops.load_library(library)
    set_backwards = ctypes.CDLL(library).set_backwards
    set_backwards.argtypes = [ctypes.c_bool]
    return SimpleNamespace(ops=torch.ops.cuda_on_cpu, set_backwards=set_backwards)


def check(cuda: SimpleNamespace, name: str, *arguments: object, backward: bool = False) -> tuple[torch.Tensor, ...]:
    """Compare one op with the CPU's; a backward pass in both kinds of sum, and the deterministic one in both orders."""
    expected = getattr(CPU, name)(*arguments, False)
    expected = expected if isinstance(expected, tuple | list) else (expected,)

    def actual(deterministic: bool) -> tuple[torch.Tensor, ...]:
        outputs = getattr(cuda.ops, name)(*arguments, deterministic)
        return outputs if isinstance(outputs, tuple | list) else (outputs,)

    for deterministic in (False, True) if backward else (False,):
        for got, want in zip(actual(deterministic), expected, strict=True):
            assert_close(got.double() if got.is_floating_point() else got, want, tolerance=1e-8)
    if backward:
        forwards = actual(True)
        cuda.set_backwards(True)
        turned = actual(True)
        cuda.set_backwards(False)
        assert all(torch.equal(one, other) for one, other in zip(forwards, turned, strict=True))
    return expected


@pytest.mark.parametrize("scene", ["random", "per image", "large"])
def test_mesh_ops(cuda: SimpleNamespace, scene: str) -> None:
    clip, faces = random_triangles(2, dtype=torch.float64)
    if scene == "per image":
        faces = torch.stack([faces, faces.flip(0)]).contiguous()
    if scene == "large":  # beyond what one warp draws
        corners = [[-3, -3, 0.1, 1], [3, -3, 0.2, 1], [0, 3, 0.3, 1], [-2, 2, 0.2, 1], [2, 2, 0.05, 1]]
        clip = torch.tensor([corners, corners], dtype=torch.float64)
        faces = torch.tensor([[0, 1, 2], [1, 3, 4], [0, 3, 4]], dtype=torch.int32)
    size = (90, 70) if scene == "large" else (24, 33)
    weights, depth, face_id, slopes = check(cuda, "rasterize", clip, faces, *size, True)
    calm = (slopes.abs().amax(-1, keepdim=True) < 1).double()
    grads = torch.randn_like(weights) * calm, torch.randn_like(depth) * calm[..., 0]
    check(cuda, "rasterize_backward", clip, faces, face_id, weights, *grads, backward=True)
    attributes = torch.randn(2, clip.shape[1], 3, dtype=torch.float64)
    (values,) = check(cuda, "interpolate", attributes, face_id, weights, faces)
    check(cuda, "interpolate_backward", attributes, face_id, weights, faces, torch.randn_like(values), backward=True)
    image = torch.rand(*face_id.shape, 3, dtype=torch.float64)
    outline = (image, face_id, depth, clip, faces, ops.edge_topology(faces))
    check(cuda, "antialias", *outline)
    check(cuda, "antialias_backward", *outline, torch.randn_like(image), backward=True)
    broken = clip.clone()
    broken[1, 0, 0] = torch.inf
    assert cuda.ops.check_mesh(clip, faces) == MeshFault.NONE
    assert cuda.ops.check_mesh(broken, faces) == cuda.ops.check_mesh(broken, faces + 99) == MeshFault.NOT_FINITE
    assert cuda.ops.check_mesh(clip, faces + 99) == MeshFault.INDEX_OUTSIDE


@pytest.mark.parametrize("filter_index", [0, 1, 2])
def test_texture_and_shade(cuda: SimpleNamespace, filter_index: int) -> None:
    generator = torch.Generator().manual_seed(0)
    uv = torch.rand(2, 5, 7, 2, generator=generator, dtype=torch.float64) * 3 - 1
    uv_da = torch.randn(2, 5, 7, 4, generator=generator, dtype=torch.float64) * 0.2 if filter_index == 2 else None
    clip, faces, vertex_uv = (x.double() if x.is_floating_point() else x for x in ellipsoid(6, 8, batch=2))
    labels = (torch.arange(len(faces)) % 3).to(torch.uint8)
    for maps in (1, 2):
        feature_map = torch.randn(maps, 5, 12, 16, generator=generator, dtype=torch.float64)
        mips = ops.mip_stack(feature_map) if filter_index == 2 else MipStack(ops._texels(feature_map), 12, 16, 1)
        for boundary in (0, 1):
            modes = (*mips[1:], filter_index, boundary)
            (sampled,) = check(cuda, "texture", mips.texels, uv, uv_da, *modes)
            grad = torch.randn_like(sampled)
            check(cuda, "texture_backward", mips.texels, uv, uv_da, grad, *modes, backward=True)
            half = mips.texels.half(), uv.float(), None if uv_da is None else uv_da.float()
            assert_close(cuda.ops.texture(*half, *modes, False), sampled)
            inputs = (clip, faces, vertex_uv[None], labels, mips.texels)
            features, _, face_id, weights, depth = check(cuda, "shade", *inputs, 20, 24, *modes)
            grads = [torch.randn_like(x) for x in (features, weights, depth)]
            for chosen in (grads, [grads[0], None, None], [None, *grads[1:]]):
                arguments = (*inputs, face_id, weights, *chosen, *modes, True, True, True)
                check(cuda, "shade_backward", *arguments, backward=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_finite_reaches_the_gradient(cuda: SimpleNamespace, dtype: torch.dtype) -> None:
    """A loss that diverged shows in a deterministic sum, too, and only where it does on the CPU."""
    corners = [[[-1.0, 1, 0, 1], [1, 1, 0, 1], [-1, -1, 0, 1], [1, -1, 0, 1]]]
    clip, faces = torch.tensor(corners, dtype=dtype), torch.tensor([[0, 1, 2], [1, 3, 2]], dtype=torch.int32)
    raster = ops.rasterize(clip, faces, (4, 4))
    attributes = torch.rand(1, 4, 5, dtype=dtype)
    grad = torch.ones(1, 4, 4, 5, dtype=dtype)
    grad[0, 1, 1, 0], grad[0, 1, 1, 1], grad[0, 1, 1, 2] = torch.inf, -torch.inf, torch.nan
    grad[0, 1, 1, 3], grad[0, 0, 1, 3] = torch.inf, -torch.inf
    arguments = (attributes, raster.face_id, raster.barycentrics, faces, grad)
    (expected, _) = CPU.interpolate_backward(*arguments, False)
    assert expected[0, 0, :3].isfinite().sum() == 0 and expected[0, 0, 3].isnan() and expected[0, :, 4].isfinite().all()
    assert expected[0, 3].isfinite().all()  # the corner of the other face
    for backwards in (False, True):
        cuda.set_backwards(backwards)
        (found, _) = cuda.ops.interpolate_backward(*arguments, True)
        cuda.set_backwards(False)
        torch.testing.assert_close(found, expected, equal_nan=True)
    grad[:] = torch.nan  # no finite term at all
    assert cuda.ops.interpolate_backward(*arguments, True)[0].isnan().all()
