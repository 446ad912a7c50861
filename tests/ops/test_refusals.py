"""What every op and its twin refuse of a raster, of mips and of a topology, by name, before anything is read."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from cuda_ext import ops, reference
from cuda_ext.types import MipStack, Raster, Surface
from tests.ops.scenes import random_triangles

MODULES = pytest.mark.parametrize("module", [ops, reference], ids=["ops", "twin"])
SIZE = (8, 9)

# What is wrong with a raster of 8 x 9 px, two images and 44 faces; and what is said.
WRONG_RASTERS: dict[str, tuple[Callable[[Raster], Any], str]] = {
    "no raster": (lambda r: tuple(r), r"'raster' must be a Raster, got \("),
    "half the width": (lambda r: Raster(*(x[:, :, ::2] for x in r)), "'raster.barycentrics' must be contiguous"),
    "ids of half the width": (
        lambda r: r._replace(face_id=r.face_id[:, :, ::2].contiguous()),
        r"'raster.face_id' must be \[2, 8, 9\], got int32 \[2, 8, 5\]",
    ),
    "ids not contiguous": (
        lambda r: r._replace(face_id=r.face_id.mT.contiguous().mT),
        r"'raster.face_id' must be contiguous, got strides \[72, 1, 8\]",
    ),
    "int64": (lambda r: r._replace(face_id=r.face_id.long()), "'raster.face_id' must be torch.int32, got torch.int64"),
    "one row of weights": (
        lambda r: r._replace(barycentrics=r.barycentrics[:, :1].contiguous()),
        r"'raster.face_id' must be \[2, 1, 9\]",
    ),
    "three weights": (
        lambda r: r._replace(barycentrics=torch.zeros(2, *SIZE, 3)),
        r"'raster.barycentrics' must be \[2, 8, 9, 2\], got float32 \[2, 8, 9, 3\]",
    ),
    "half weights": (
        lambda r: r._replace(barycentrics=r.barycentrics.half()),
        r"'raster.barycentrics' must be float32 or float64 \[B, H, W, 2\]",
    ),
    "double depth": (lambda r: r._replace(depth=r.depth.double()), "'raster.depth' must be torch.float32"),
    "no depth": (lambda r: r._replace(depth=None), r"'raster.depth' must be \[2, 8, 9\], got None"),
    "flat derivatives": (
        lambda r: r._replace(derivatives=torch.zeros(2, 72, 4)),
        r"'raster.derivatives' must be \[2, 8, 9, 4\], got float32 \[2, 72, 4\]",
    ),
    "another device": (lambda r: r._replace(face_id=r.face_id.to("meta")), "'raster.face_id' is on meta, expected cpu"),
    "sparse": (
        lambda r: r._replace(face_id=r.face_id.to_sparse()),
        "'raster.face_id' must be a dense tensor, got torch.sparse_coo",
    ),
    "an id beyond": (
        lambda r: r._replace(face_id=torch.full((2, *SIZE), 44, dtype=torch.int32)),
        "'raster.face_id' must be -1 or index the 44 'faces', got one outside",
    ),
    "an id below": (
        lambda r: r._replace(face_id=torch.full((2, *SIZE), -2, dtype=torch.int32)),
        "'raster.face_id' must be -1 or index the 44 'faces', got one outside",
    ),
}


@pytest.fixture(scope="module")
def scene() -> tuple[torch.Tensor, torch.Tensor, Raster]:
    clip, faces = random_triangles(0)
    return clip, faces, ops.rasterize(clip, faces, SIZE, derivatives=True)


@MODULES
@pytest.mark.parametrize("wrong", WRONG_RASTERS)
@pytest.mark.parametrize("op", ["interpolate", "attribute_derivatives", "antialias"])
def test_a_raster(module: ModuleType, op: str, wrong: str, scene: tuple[Any, ...]) -> None:
    clip, faces, raster = scene
    change, text = WRONG_RASTERS[wrong]
    given = change(raster)
    image = (torch.zeros(2, 3, *SIZE), given, clip, faces) if op == "antialias" else (torch.zeros(40, 3), given, faces)
    with pytest.raises(ValueError, match=rf"{op}\(\): {text}"):
        getattr(module, op)(*image)


@MODULES
def test_a_topology(module: ModuleType, scene: tuple[Any, ...]) -> None:
    clip, faces, raster = scene
    topology = ops.edge_topology(faces)
    for wrong, text in [
        (topology.long(), r"'topology' must be edge_topology\(faces\), got int64"),
        (topology[:3], r"'topology' must be edge_topology\(faces\)"),
        ("edges", r"'topology' must be edge_topology\(faces\), got 'edges'"),
        (topology.T.contiguous().T, "'topology' must be contiguous"),
        (topology.to("meta"), "'topology' is on meta"),
        (topology + len(faces), "'topology' must be -1 or index the 44 'faces'"),
    ]:
        with pytest.raises(ValueError, match=text):
            module.antialias(torch.zeros(2, 3, *SIZE), raster, clip, faces, wrong)
    image = torch.zeros(2, 3, *SIZE, dtype=torch.float64)
    double = Raster(raster.face_id, raster.barycentrics.double(), raster.depth.double())
    with pytest.raises(ValueError, match="'raster.barycentrics' must be torch.float32, got torch.float64"):
        module.antialias(image, double, clip, faces)


@MODULES
@pytest.mark.parametrize("op", ["texture", "shade"])
def test_mips(module: ModuleType, op: str, scene: tuple[Any, ...]) -> None:
    clip, faces, _ = scene
    feature_map = torch.rand(1, 5, 12, 16)
    mips = ops.mip_stack(feature_map)

    def sample(given: Any) -> None:
        if op == "shade":
            surface = Surface(torch.rand(40, 2), feature_map, filter_mode="trilinear", mips=given)
            module.shade(clip, faces, surface, SIZE)
        else:
            uv, uv_da = torch.rand(2, 7, 9, 2), torch.rand(2, 7, 9, 4)
            module.texture(feature_map, uv, uv_da, filter_mode="trilinear", mips=given)

    sample(mips)
    for wrong, text in [
        (ops.mip_stack(feature_map.double()), "'mips.texels' must be torch.float32, got torch.float64"),
        (mips._replace(levels=9), "'mips' do not belong to 'feature_map'"),
        (mips._replace(texels=mips.texels[:, :-1]), r"'mips.texels' must be \[1, 252, 5\], got float32 \[1, 251, 5\]"),
        (mips._replace(texels=mips.texels.mT.contiguous().mT), "'mips.texels' must be contiguous"),
        (mips._replace(texels=mips.texels.to("meta")), "'mips.texels' is on meta"),
        (mips.texels, "'mips' must be a MipStack, got float32"),
        (MipStack(torch.zeros(2, 252, 5), 12, 16, 3), r"'mips.texels' must be \[1, 252, 5\]"),
    ]:
        with pytest.raises(ValueError, match=text):
            sample(wrong)


@MODULES
def test_sizes_and_kinds(module: ModuleType, scene: tuple[Any, ...]) -> None:
    clip, faces, _ = scene
    surface = Surface(torch.rand(40, 2), torch.rand(1, 5, 4, 4))
    for call, text in [
        (lambda: module.rasterize(clip, faces, (8.9, 8)), r"rasterize\(\): 'resolution' must be \(height, width\)"),
        (lambda: module.rasterize(clip.to_sparse(), faces, SIZE), "'clip_positions' must be a dense tensor"),
        (lambda: module.rasterize(clip, faces.to_sparse(), SIZE), "'faces' must be a dense tensor"),
        (lambda: module.rasterize(clip[..., :3], faces, SIZE), r"'clip_positions' must be \[B, V, 4\]"),
        (lambda: module.shade(clip, faces, surface.feature_map, SIZE), r"shade\(\): 'surface' must be a Surface"),
        (lambda: module.texture(torch.rand(1, 5, 4, 4).to_sparse(), torch.rand(1, 2, 2, 2)), "'feature_map' must be a"),
        (lambda: module.texture(torch.rand(1, 5, 4, 4), torch.rand(1, 2, 2, 2), filter_mode=["nearest"]), "one of"),
        (lambda: module.mip_stack(torch.empty(1, 1, 1 << 15, 1 << 16, device="meta")), "more than 2147483647 texels"),
        (lambda: module.edge_topology(faces.long()), r"edge_topology\(\): 'faces' must be int32"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()


def test_fakes_have_shapes_and_refuse_them() -> None:
    clip, faces = random_triangles(0)
    with FakeTensorMode(allow_non_fake_inputs=False) as mode:
        fake_clip, fake_faces = mode.from_tensor(clip), mode.from_tensor(faces)
        raster = ops.rasterize(fake_clip, fake_faces, SIZE)
        values = ops.interpolate(torch.empty(40, 3), raster, fake_faces)
        assert values.shape == (2, *SIZE, 3)
        assert ops.antialias(values.permute(0, 3, 1, 2), raster, fake_clip, fake_faces).shape == (2, 3, *SIZE)
        with pytest.raises(ValueError, match="'raster.face_id' must be torch.int32"):
            ops.interpolate(torch.empty(40, 3), raster._replace(face_id=raster.face_id.long()), fake_faces)


def test_values_that_a_compiled_graph_lets_through_are_refused_by_the_ops(scene: tuple[Any, ...]) -> None:
    clip, faces, raster = scene
    compiled = torch.compile(lambda a, r, f: ops.interpolate(a, r, f), backend="eager", fullgraph=True)
    values = torch.rand(40, 3)
    assert torch.equal(compiled(values, raster, faces), ops.interpolate(values, raster, faces))
    beyond = torch.full((2, *SIZE), 123456, dtype=torch.int32)
    with pytest.raises(RuntimeError, match="a face is named that is not there"):
        compiled(values, raster._replace(face_id=beyond), faces)
    draw = torch.compile(lambda c, f: ops.rasterize(c, f, SIZE).depth, backend="eager", fullgraph=True)
    with pytest.raises(RuntimeError, match="a face names a vertex that is not there"):
        draw(clip, faces + 40)
    with pytest.raises(RuntimeError, match="is not finite"):
        draw(clip * torch.inf, faces)
    smooth = torch.compile(lambda i, r, c, f, t: ops.antialias(i, r, c, f, t), backend="eager", fullgraph=True)
    with pytest.raises(RuntimeError, match="a face is named that is not there"):
        smooth(torch.rand(2, 3, *SIZE), raster, clip, faces, ops.edge_topology(faces) + 44)
    surface = Surface(torch.rand(40, 2), torch.rand(1, 5, 4, 4))
    paint = torch.compile(lambda c, f: ops.shade(c, f, surface, SIZE).features, backend="eager", fullgraph=True)
    with pytest.raises(RuntimeError, match="a face names a vertex that is not there"):
        paint(clip, faces + 40)
