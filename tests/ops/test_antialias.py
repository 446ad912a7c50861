import math

import pytest
import torch

from cuda_ext import ops, reference
from cuda_ext.bench import ellipsoid
from cuda_ext.types import Raster
from tests.ops.closeness import assert_close
from tests.ops.scenes import random_triangles


def rectangle(x: float, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """A rectangle whose right edge is at NDC x and whose other edges are off screen."""
    corners = [[-2, -2, 0, 1], [x, -2, 0, 1], [x, 2, 0, 1], [-2, 2, 0, 1]]
    return torch.tensor([corners], dtype=dtype), torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)


def render(clip: torch.Tensor, faces: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The mesh's coverage as an antialiased image [B, 1, H, W]."""
    raster = ops.rasterize(clip, faces, size)
    mask = (raster.face_id >= 0).to(clip)[:, None]
    return ops.antialias(mask, raster, clip, faces)


def test_hand_computed() -> None:
    # The edge at 5.25 px: between the centres of pixel 4 (4.5) and pixel 5 (5.5), 3/4 of the way.
    image = render(*rectangle(5.25 / 4 - 1), (3, 8))
    assert image[0, 0, 1].tolist() == pytest.approx([1, 1, 1, 1, 1, 0.25, 0, 0])
    image = render(*rectangle(4.75 / 4 - 1), (3, 8))  # 1/4 of the way: pixel 4 gives a quarter away
    assert image[0, 0, 1].tolist() == pytest.approx([1, 1, 1, 1, 0.75, 0, 0, 0])


def test_inner_edges_are_left_alone() -> None:
    # The two faces of the rectangle show different colours, and only its outline is blended.
    clip, faces = rectangle(3.0)
    raster = ops.rasterize(clip, faces, (9, 9))
    colours = raster.face_id[:, None].float()
    assert raster.face_id.unique().tolist() == [0, 1]
    assert torch.equal(ops.antialias(colours, raster, clip, faces), colours)


def disk(corners: int, radius: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A regular polygon of one face per side, float64."""
    angle = torch.arange(corners, dtype=torch.float64) * 2 * math.pi / corners + 0.1
    rim = torch.stack([radius * angle.cos(), radius * angle.sin(), 0 * angle, 1 + 0 * angle], dim=-1)
    index = torch.arange(corners)
    clip = torch.cat([torch.tensor([[0.0, 0.0, 0.0, 1.0]]), rim])[None]
    return clip, torch.stack([0 * index, index + 1, (index + 1) % corners + 1], dim=1).int()


def test_finite_difference_of_image_sums() -> None:
    """The sum is the area, and the mean derivative over a stretch is the change of the sum: no outline is missed."""
    clip, faces = disk(24, 0.7)
    area = 24 / 2 * 0.7**2 * math.sin(2 * math.pi / 24) * (60 / 2) * (50 / 2)
    steps = torch.linspace(0.0, 0.2, 100, dtype=torch.float64)
    for axis in (0, 1):
        derivatives, sums = [], []
        for step in steps:
            scale = torch.ones(4, dtype=torch.float64)
            scale[axis] += step
            scale.requires_grad_()
            total = render(clip * scale, faces, (60, 50)).sum()
            total.backward()
            assert scale.grad is not None
            derivatives.append(scale.grad[axis])
            sums.append(total.detach())
        assert abs(sums[0] - area) < 2e-3 * area
        numerical = ((sums[-1] - sums[0]) / 0.2).item()
        analytical = torch.trapezoid(torch.stack(derivatives), steps).item() / 0.2
        assert analytical == pytest.approx(numerical, rel=0.03)  # measured 0.015: the polygon's corners


def test_one_edge_against_finite_differences() -> None:
    for x in (0.3, 0.33, 0.41):
        clip, faces = rectangle(x, torch.float64)
        positions = clip.clone().requires_grad_()
        image = render(positions, faces, (5, 8))
        image.sum().backward()
        step = torch.zeros_like(clip)
        step[0, 1:3, 0] = 1e-6
        change = render(clip + step, faces, (5, 8)).sum() - render(clip - step, faces, (5, 8)).sum()
        assert positions.grad is not None
        assert change / 2e-6 == pytest.approx(5 * 8 / 2)  # five rows, half of eight pixels per unit of NDC
        assert positions.grad[0, 1:3, 0].sum().item() == pytest.approx(20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_twin(dtype: torch.dtype) -> None:
    blended = 0
    for seed in range(10):
        clip, faces = random_triangles(seed, faces=10, dtype=dtype)
        raster = ops.rasterize(clip, faces, (19, 23))
        image = torch.rand(2, 3, 19, 23, generator=torch.Generator().manual_seed(seed), dtype=dtype)
        results = []
        for module in (ops, reference):
            colours, positions = image.clone().requires_grad_(), clip.clone().requires_grad_()
            out = module.antialias(colours, raster, positions, faces)
            (out * torch.linspace(-1, 1, out.numel(), dtype=dtype).view(out.shape)).sum().backward()
            results.append([out, colours.grad, positions.grad])
        blended += int((results[0][0] != image).any(1).sum())
        # measured 5e-5 in float32: edges of faces that pass behind the camera
        for ours, twin in zip(*results, strict=True):
            assert_close(ours, twin, tolerance=1e-3 if dtype == torch.float32 else 1e-9)
    assert blended > 1000


def test_topology() -> None:
    _, faces, _ = ellipsoid(3, 4)
    fan = torch.tensor([[0, 1, 20], [0, 1, 21], [0, 1, 22], [1, 2, 23], [5, 5, 6]], dtype=torch.int32)
    for mesh in (faces, torch.cat([faces, fan]), faces[:0], fan[:1]):
        assert torch.equal(ops.edge_topology(mesh), reference.edge_topology(mesh))
    assert torch.equal(ops.edge_topology(faces[None].repeat(2, 1, 1))[1], ops.edge_topology(faces))


def test_gradcheck_and_opcheck() -> None:
    near, faces = disk(5, 0.6)
    far = near * torch.tensor([1.3, 1.2, 1.0, 1.5]) + torch.tensor([0.5, 0.1, 0.5, 0.0])  # partly behind the other
    clip, faces = torch.cat([near, far], dim=1), torch.cat([faces, faces + 6])
    raster = ops.rasterize(clip, faces, (6, 8))
    assert raster.face_id.unique().tolist()[:2] == [-1, 0] and (raster.face_id > 4).any()
    image = torch.rand(1, 2, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def output(colours: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return ops.antialias(colours, raster, positions, faces)

    assert torch.autograd.gradcheck(output, (image, clip.clone().requires_grad_()))
    single = (image.detach().float().permute(0, 2, 3, 1).contiguous().requires_grad_(), raster.face_id)
    topology = ops.edge_topology(faces)
    arguments = (*single, raster.depth.float(), clip.float().requires_grad_(), faces, topology, False)
    torch.library.opcheck(torch.ops.cuda_ext.antialias, arguments)


def test_same_bytes_for_any_number_of_threads() -> None:
    clip, faces = random_triangles(1)
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        positions = clip.clone().requires_grad_()
        raster = ops.rasterize(positions, faces, (50, 60))
        out = ops.antialias(raster.barycentrics.permute(0, 3, 1, 2), raster, positions, faces)
        out.square().sum().backward()
        results.append([out, positions.grad])
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_empty_and_errors() -> None:
    clip, faces = random_triangles(0)
    raster = ops.rasterize(clip, faces, (8, 9))
    image = torch.rand(2, 3, 8, 9)
    nothing = ops.rasterize(clip, faces[:0], (8, 9))
    assert torch.equal(ops.antialias(image, nothing, clip, faces[:0]), image)
    none = ops.antialias(image[:0], ops.rasterize(clip[:0], faces, (8, 9)), clip[:0], faces)
    assert none.shape == (0, 3, 8, 9)
    for arguments, text in [
        ((image[0], raster, clip, faces), r"antialias\(\): 'image' must be float32 or float64 \[B, C, H, W\]"),
        ((image.double(), raster, clip, faces), "'image' must be torch.float32"),
        ((image[:, :, :4], raster, clip, faces), r"'image' must be \[B, C, H, W\] of the raster \[2, 8, 9\]"),
        ((image, raster, clip, faces.long()), "'faces' must be int32"),
        ((image, raster, clip * torch.nan, faces), "not finite"),
        ((image, raster, clip, faces, faces[:3]), r"'topology' must be edge_topology\(faces\)"),
        ((image.to("meta"), raster, clip, faces), "'image' is on meta"),
    ]:
        with pytest.raises(ValueError, match=text):
            ops.antialias(*arguments)


@pytest.mark.cuda
@pytest.mark.parametrize("deterministic", [False, True])
def test_cuda_equals_cpu(deterministic: bool) -> None:
    clip, faces = random_triangles(4, dtype=torch.float64)
    raster = ops.rasterize(clip, faces, (19, 23))
    results = []
    for device in ("cpu", "cuda"):
        moved = Raster(*(x.to(device) for x in raster[:3]))
        image = torch.linspace(0, 1, 2 * 3 * 19 * 23, dtype=torch.float64, device=device).view(2, 3, 19, 23)
        positions = clip.to(device).requires_grad_()
        out = ops.antialias(image.requires_grad_(), moved, positions, faces.to(device), deterministic=deterministic)
        out.square().sum().backward()
        results.append([x.cpu() for x in (out, image.grad, positions.grad)])
    for ours, theirs in zip(*results, strict=True):
        assert_close(theirs, ours, tolerance=1e-8)
