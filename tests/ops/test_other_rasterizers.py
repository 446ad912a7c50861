import json
import sys
import types

import pytest
import torch

from cuda_ext import bench, ops, other_rasterizers
from cuda_ext.bench import ellipsoid
from tests.ops.closeness import assert_close


def fake_nvdiffrast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that answers in nvdiffrast's conventions: the picture upside down, face + 1, y derivatives upwards."""

    def rasterize(context, clip_positions, faces, resolution, grad_db):
        raster = ops.rasterize(clip_positions, faces, resolution, derivatives=True)
        depth = torch.where(raster.face_id >= 0, raster.depth, 0)
        columns = (raster.barycentrics, depth[..., None], raster.face_id[..., None] + 1.0)
        slopes = raster.derivatives * torch.tensor([1.0, -1.0, 1.0, -1.0])
        return torch.cat(columns, dim=-1).flip(1), slopes.flip(1)

    package, module = types.ModuleType("nvdiffrast"), types.ModuleType("nvdiffrast.torch")
    module.rasterize, module.RasterizeCudaContext = rasterize, lambda device: None
    package.torch = module
    monkeypatch.setitem(sys.modules, "nvdiffrast", package)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", module)
    other_rasterizers._nvdiffrast_context.cache_clear()


def test_nvdiffrast_conventions_are_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvdiffrast(monkeypatch)
    clip, faces, _ = ellipsoid(5, 6, radius=0.5)
    clip[..., 1] += 0.4 * clip[..., 3]  # off centre, so that a wrong flip shows
    ours = ops.rasterize(clip, faces, (20, 30), derivatives=True)
    theirs = other_rasterizers.rasterize(clip, faces, (20, 30), backend="nvdiffrast", derivatives=True)
    assert torch.equal(ours.face_id, theirs.face_id)
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert torch.equal(one, other)


def test_the_bench_times_a_peer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake_nvdiffrast(monkeypatch)
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
