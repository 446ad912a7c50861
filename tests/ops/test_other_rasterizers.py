import json
import sys
import types
from collections.abc import Callable

import pytest
import torch

from cuda_ext import bench, ops, other_rasterizers
from cuda_ext.bench import ellipsoid
from cuda_ext.types import Raster
from tests.ops.closeness import assert_close


def install(monkeypatch: pytest.MonkeyPatch, rasterize: Callable[..., tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Put a stand-in for nvdiffrast's rasterizer where it would be imported from."""
    package, module = types.ModuleType("nvdiffrast"), types.ModuleType("nvdiffrast.torch")
    module.rasterize, module.RasterizeCudaContext = rasterize, lambda device: None
    package.torch = module
    monkeypatch.setitem(sys.modules, "nvdiffrast", package)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", module)
    other_rasterizers._nvdiffrast_context.cache_clear()


# A triangle in 4 x 8 px whose pixels are known: corners at (0, 0), (3.5, 0) and (0, 3.5) px, w = 2, z / w = 0, 1/4 and
# 1/2. It covers the centres where row + column < 3. At (x, y) px its barycentrics are 1 - (x + y) / 3.5, x / 3.5 and
# y / 3.5. Two images: in the second it is face 1 of two, the other one being off screen.
CORNERS_PX = [(0.0, 0.0), (3.5, 0.0), (0.0, 3.5)]
PIXELS = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]  # row, column


def known_mesh() -> tuple[torch.Tensor, torch.Tensor]:
    """Clip positions [2, 6, 4] and faces: corners from px, x right and y up from -w to w, times w."""
    seen = [
        [2 * (x / 4 - 1), 2 * (1 - y / 2), 2 * z, 2.0] for (x, y), z in zip(CORNERS_PX, (0, 0.25, 0.5), strict=True)
    ]
    aside = [[x + 20, y, z, w] for x, y, z, w in seen]
    return torch.tensor([seen + aside, aside + seen]), torch.tensor([[0, 1, 2], [3, 4, 5]], dtype=torch.int32)


def check_known(raster: Raster, slopes: bool) -> None:
    """What the triangle has to be in this project's conventions."""
    for image in (0, 1):
        for row in range(4):
            for column in range(8):
                at = (image, row, column)
                if (row, column) not in PIXELS:
                    assert (raster.face_id[at], raster.depth[at]) == (-1, 1) and not raster.barycentrics[at].any()
                    continue
                u, v, w = weights_at(row, column)
                assert raster.face_id[at] == image
                assert raster.barycentrics[at].tolist() == pytest.approx([u, v])
                assert raster.depth[at].item() == pytest.approx(0.25 * v + 0.5 * w)
                if slopes:  # du/dx, du/dy, dv/dx, dv/dy with y down
                    assert raster.derivatives is not None
                    assert raster.derivatives[at].tolist() == pytest.approx([-1 / 3.5, -1 / 3.5, 1 / 3.5, 0])


def weights_at(row: int, column: int) -> tuple[float, float, float]:
    x, y = column + 0.5, row + 0.5
    return 1 - (x + y) / 3.5, x / 3.5, y / 3.5


def test_our_own_rasterizer_draws_the_known_triangle() -> None:
    clip, faces = known_mesh()
    check_known(ops.rasterize(clip, faces, (4, 8), derivatives=True), slopes=True)


def test_nvdiffrast_conventions_are_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its documentation: (u, v, z/w, triangle_id), the id one more and 0 where empty; rows from the bottom, Y up."""
    clip, faces = known_mesh()

    def rasterize(context, pos, tri, resolution, grad_db):
        assert torch.equal(pos, clip) and torch.equal(tri, faces) and resolution == (4, 8)
        found, slopes = torch.zeros(2, 4, 8, 4), torch.zeros(2, 4, 8, 4)
        for image in (0, 1):
            for row, column in PIXELS:
                u, v, w = weights_at(row, column)
                from_bottom = 3 - row
                found[image, from_bottom, column] = torch.tensor([u, v, 0.25 * v + 0.5 * w, image + 1])
                slopes[image, from_bottom, column] = torch.tensor([-1 / 3.5, 1 / 3.5, 1 / 3.5, 0])
        return found, slopes if grad_db else slopes[..., :0]

    install(monkeypatch, rasterize)
    for derivatives in (True, False):
        raster = other_rasterizers.rasterize(clip, faces, (4, 8), backend="nvdiffrast", derivatives=derivatives)
        check_known(raster, derivatives)
        ops.interpolate(clip, raster, faces)  # the ops take it as their own


def test_pytorch3d_conventions_are_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its documentation: NDC x left, y up, the shorter side from -1 to 1, depth as seen from the camera; rows from the
    top, faces counted over the batch, three barycentrics, -1 where empty."""
    clip, faces = known_mesh()

    class KnownMeshes:
        def __init__(self, verts, faces):
            self.verts, self.faces = verts, faces

    def rasterize_meshes(meshes, image_size, faces_per_pixel, perspective_correct, z_clip_value):
        assert image_size == (4, 8) and faces_per_pixel == 1 and perspective_correct and z_clip_value > 0
        assert meshes.faces.dtype == torch.int64 and torch.equal(meshes.faces, faces.long().expand(2, -1, -1))
        for corners in (meshes.verts[0, :3], meshes.verts[1, 3:]):  # 8 px are 4 wide, 4 px are 2 high
            expected = [[2 - x / 2, 1 - y / 2, 2] for x, y in CORNERS_PX]
            assert torch.allclose(corners, torch.tensor(expected))
        found = torch.full((2, 4, 8, 1), -1)
        depth, weights = torch.full((2, 4, 8, 1), -1.0), torch.full((2, 4, 8, 1, 3), -1.0)
        for image in (0, 1):
            for row, column in PIXELS:
                at = (image, row, column, 0)
                found[at], depth[at], weights[at] = 3 * image, 2.0, torch.tensor(weights_at(row, column))
        return found, depth, weights, torch.full((2, 4, 8, 1), -1.0)

    rasterizer = types.ModuleType("pytorch3d.renderer.mesh.rasterize_meshes")
    structures = types.ModuleType("pytorch3d.structures")
    rasterizer.rasterize_meshes, structures.Meshes = rasterize_meshes, KnownMeshes
    for module in (rasterizer, structures):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("pytorch3d", "pytorch3d.renderer", "pytorch3d.renderer.mesh"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    raster = other_rasterizers.rasterize(clip, faces, (4, 8), backend="pytorch3d")
    check_known(raster, slopes=False)
    ops.interpolate(clip, raster, faces)


def test_the_bench_times_a_peer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    empty = torch.zeros(2, 16, 16, 4)
    install(monkeypatch, lambda *_, **__: (empty, empty))
    words = "--op rasterize --faces 1000 --size 16 --batch 2 --repeats 1 --device cpu --json --against nvdiffrast"
    bench.main(words.split())
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["op"] for row in rows] == ["rasterize", "rasterize", "nvdiffrast rasterize"]
    assert rows[-1]["pass"] == "forward" and rows[-1]["ms"] > 0


def test_errors() -> None:
    clip, faces, _ = ellipsoid(3, 4)
    with pytest.raises(ValueError, match="'backend' must be one of"):
        other_rasterizers.rasterize(clip, faces, (8, 8), backend="opengl")
    with pytest.raises(ValueError, match="'pytorch3d' has no derivatives"):
        other_rasterizers.rasterize(clip, faces, (8, 8), backend="pytorch3d", derivatives=True)
    for name in ("nvdiffrast", "pytorch3d"):
        try:
            __import__(name)
        except ModuleNotFoundError:
            with pytest.raises(ModuleNotFoundError, match=f"'{name}' needs the package"):
                other_rasterizers.rasterize(clip, faces, (8, 8), backend=name)


@pytest.mark.parametrize("backend", [pytest.param("nvdiffrast", marks=pytest.mark.cuda), "pytorch3d"])
def test_parity(backend: str) -> None:
    """Same faces but for few pixels at edges, and the same barycentrics and depth where the faces are the same."""
    pytest.importorskip(backend)
    device = "cuda" if backend == "nvdiffrast" else "cpu"
    clip, faces, _ = (x.to(device) for x in ellipsoid(12, 15, batch=2))
    ours = ops.rasterize(clip, faces, (96, 128))
    theirs = other_rasterizers.rasterize(clip, faces, (96, 128), backend=backend)
    same = ours.face_id == theirs.face_id
    assert same.float().mean() > 0.999
    assert_close(theirs.barycentrics[same], ours.barycentrics[same], tolerance=1e-3)
    assert_close(theirs.depth[same], ours.depth[same], tolerance=1e-3)
