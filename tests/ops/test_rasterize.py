import pytest
import torch

from cuda_ext import ops, reference
from cuda_ext.bench import ellipsoid
from tests.ops.closeness import assert_close
from tests.ops.scenes import random_triangles

CLIP_PLANES = (1.0, -1.0)  # z = -w and z = w


def near_an_edge(clip_positions: torch.Tensor, faces: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Pixels of one image within 0.001 px of the line through a face's edge or of its cut with a clip plane."""
    corners = reference.corner_positions(clip_positions.double(), faces)
    forms = reference.edge_forms(reference.homogeneous_pixels(corners, *size))  # [F, 3, 3]
    cuts = [(forms * (corners[..., 2] + side * corners[..., 3])[..., None]).sum(1) for side in CLIP_PLANES]
    lines = torch.cat([forms.flatten(0, 1), *cuts, (forms * corners[..., 3:]).sum(1)])
    points = reference.pixel_centres(*size, lines)
    distance = (points @ lines.T).abs() / lines[:, :2].norm(dim=1).clamp(min=1e-300)
    return (distance < 1e-3).any(-1)


def test_hand_computed_triangle() -> None:
    # Corners in px: (0, 0), (4, 0), (0, 4) in a 4 x 4 image; the hypotenuse runs through pixel centres.
    clip = torch.tensor([[[-1, 1, 0, 1], [1, 1, 0, 1], [-1, -1, 0, 1]]], dtype=torch.float32)
    raster = ops.rasterize(clip, torch.tensor([[0, 1, 2]], dtype=torch.int32), (4, 4), derivatives=True)
    # The hypotenuse is a right edge: the centres on it, (3.5, 0.5) and so on, are not covered.
    assert raster.face_id[0].tolist() == [[0, 0, 0, -1], [0, 0, -1, -1], [0, -1, -1, -1], [-1, -1, -1, -1]]
    assert raster.barycentrics[0, 0, 0].tolist() == [0.75, 0.125]
    assert raster.barycentrics[0, 1, 0].tolist() == [0.5, 0.125]
    assert raster.depth[0, 0, 0].item() == 0.0 and raster.depth[0, 3, 3].item() == 1.0
    assert raster.derivatives is not None
    assert raster.derivatives[0, 0, 0].tolist() == [-0.25, -0.25, 0.25, 0.0]
    mirrored = ops.rasterize(-clip * torch.tensor([1.0, 1.0, 1.0, -1.0]), torch.tensor([[0, 1, 2]]).int(), (4, 4))
    # Now the hypotenuse is a left edge, and its centres are covered.
    assert mirrored.face_id[0].tolist() == [[-1, -1, -1, 0], [-1, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 0]]


def test_perspective() -> None:
    # One edge at w = 1, the opposite corner at w = 3: half way on screen is a quarter of the way in space.
    clip = torch.tensor([[[-1, -1, 0, 1], [3, -3, 0, 3], [-1, 1, 0, 1]]], dtype=torch.float64)
    raster = ops.rasterize(clip, torch.tensor([[0, 1, 2]], dtype=torch.int32), (101, 101))
    row, column = 100, 50  # y = -0.990, x = 0: on the way from corner 0 to corner 1
    u, v = raster.barycentrics[0, row, column].tolist()
    point = u * clip[0, 0] + v * clip[0, 1] + (1 - u - v) * clip[0, 2]
    assert abs(point[0] / point[3]) < 1e-12 and abs(v - 0.25) < 0.005


def test_nearer_wins_and_ties_go_to_the_lower_index() -> None:
    corners = torch.tensor([[-1, 1], [3, 1], [-1, -3]], dtype=torch.float32)
    depths = torch.tensor([0.5, 0.1, 0.1, 0.3])
    clip = torch.cat([torch.cat([corners, torch.full((3, 1), z), torch.ones(3, 1)], dim=1) for z in depths])[None]
    raster = ops.rasterize(clip, torch.arange(12, dtype=torch.int32).view(4, 3), (3, 5))
    assert (raster.face_id == 1).all() and torch.allclose(raster.depth, torch.tensor(0.1))


def test_watertight() -> None:
    # Every pixel of a screen tiled by jittered triangles is covered exactly once, drawn face by face.
    generator = torch.Generator().manual_seed(0)
    clip, faces, _ = ellipsoid(6, 7)
    grid = torch.stack(torch.meshgrid(torch.linspace(-1.5, 1.5, 7), torch.linspace(-1.5, 1.5, 8), indexing="ij"), -1)
    grid = (grid * 8).round() / 8  # many corners on pixel centres, many edges through them
    grid[1:-1, 1:-1] += (torch.rand(5, 6, 2, generator=generator) * 4).floor() / 64
    w = 1 + torch.rand(56, 1, generator=generator).round()
    clip = torch.cat([grid.flatten(0, 1) * w, torch.zeros(56, 1), w], dim=1)
    raster = ops.rasterize(clip.expand(len(faces), -1, -1).contiguous(), faces[:, None].contiguous(), (64, 64))
    assert ((raster.face_id >= 0).sum(0) == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_twin(dtype: torch.dtype) -> None:
    compared = 0
    for seed in range(24):
        # 18 x 20 is over the border of a band of rows and of a block of columns; two scenes are over several.
        size = [(18, 20), (1, 1), (17, 1), (18, 20)][seed % 4]
        size = {0: (24, 33), 3: (48, 40)}.get(seed, size)
        clip, faces = random_triangles(seed, dtype=dtype)
        ours, twin = clip.clone().requires_grad_(), clip.double().requires_grad_()
        actual = ops.rasterize(ours, faces, size, derivatives=True)
        expected = reference.rasterize(twin, faces, size, derivatives=True)
        exempt = torch.stack([near_an_edge(image, faces, size) for image in clip])
        wrong = (actual.face_id != expected.face_id) & ~exempt
        assert not wrong.any(), f"seed {seed}: face_id differs at {wrong.nonzero()[0].tolist()}"
        # Slivers magnify rounding without bound: values are compared where a pixel is no thin part of its face.
        assert expected.derivatives is not None and actual.derivatives is not None
        calm = (expected.derivatives.abs().amax(-1) < 2) & (actual.face_id == expected.face_id)
        compared += int((calm & (actual.face_id >= 0)).sum())
        for name in ("barycentrics", "depth", "derivatives"):
            got, want = getattr(actual, name), getattr(expected, name)
            assert_close(got[calm], want[calm])
        weight = torch.rand(*calm.shape, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        weight = weight * calm[..., None]
        for raster in (actual, expected):
            values = torch.cat([raster.barycentrics, raster.depth[..., None]], dim=-1)
            (values * weight.to(values)).sum().backward()
        assert ours.grad is not None and twin.grad is not None
        assert_close(ours.grad, twin.grad, tolerance=2e-4 if dtype == torch.float32 else None)  # measured 3e-5
    assert compared > 3000


def test_empty_inputs() -> None:
    clip, faces = random_triangles(0)
    nothing = ops.rasterize(clip, faces[:0], (4, 5), derivatives=True)
    assert (nothing.face_id == -1).all() and (nothing.depth == 1).all() and (nothing.barycentrics == 0).all()
    assert ops.rasterize(clip[:0], faces, (4, 5)).face_id.shape == (0, 4, 5)
    assert (ops.rasterize(clip[:, :0], faces[:0], (4, 5)).face_id == -1).all()


def test_faces_per_image() -> None:
    clip, faces = random_triangles(3)
    lists = torch.stack([faces, faces.flip(0)]).contiguous()
    both = ops.rasterize(clip, lists, (20, 20))
    for index in range(2):
        alone = ops.rasterize(clip[index : index + 1], lists[index].contiguous(), (20, 20))
        assert torch.equal(both.face_id[index], alone.face_id[0])


def test_gradcheck_and_opcheck() -> None:
    clip, faces, _ = ellipsoid(3, 4)
    clip = clip.double().requires_grad_()  # no edge runs through a pixel centre of 6 x 8

    def outputs(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raster = ops.rasterize(positions, faces, (6, 8))
        return raster.barycentrics, raster.depth

    assert torch.autograd.gradcheck(outputs, (clip,))
    single = clip.detach().float().requires_grad_()
    torch.library.opcheck(torch.ops.cuda_ext.rasterize, (single, faces, 6, 8, True, False))


def test_same_bytes_for_any_number_of_threads() -> None:
    clip, faces, _ = ellipsoid(20, 25, batch=2)
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        positions = clip.clone().requires_grad_()
        raster = ops.rasterize(positions, faces, (100, 120), derivatives=True)
        (raster.barycentrics.square().sum() + raster.depth.sum()).backward()
        results.append([*raster, positions.grad])
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_errors() -> None:
    clip, faces = random_triangles(0)
    broken = clip.clone()
    broken[1, 3, 2] = torch.nan
    for arguments, text in [
        ((clip, faces.long(), (8, 8)), r"rasterize\(\): 'faces' must be int32 \[F, 3\]"),
        ((clip, faces[:, :2], (8, 8)), "'faces' must be int32"),
        ((clip, faces[:, [2, 1, 0]].flip(1).T.contiguous().T, (8, 8)), "'faces' must be contiguous"),
        ((clip, faces[None].repeat(3, 1, 1), (8, 8)), "'faces' has batch 3, expected 2"),
        ((clip.half(), faces, (8, 8)), "'clip_positions' must be float32 or float64"),
        ((clip[0], faces, (8, 8)), r"'clip_positions' must be float32 or float64 \[B, V, 4\]"),
        ((clip[..., :3], faces, (8, 8)), r"'clip_positions' must be \[B, V, 4\]"),
        ((clip.flip(2).transpose(1, 2).contiguous().transpose(1, 2), faces, (8, 8)), "must be contiguous"),
        ((broken, faces, (8, 8)), "'clip_positions' holds a value that is not finite"),
        ((clip, faces + 30, (8, 8)), "'faces' must index the 40 vertices"),
        ((clip, faces - 1, (8, 8)), "'faces' must index the 40 vertices"),
        ((clip, faces.to("meta"), (8, 8)), "'faces' is on meta, expected cpu"),
        ((clip, faces, (0, 8)), "'resolution' must be 1 to 16384 px each"),
        ((clip, faces, 8), r"'resolution' must be \(height, width\)"),
    ]:
        with pytest.raises(ValueError, match=text):
            ops.rasterize(*arguments)


@pytest.mark.cuda
@pytest.mark.parametrize("deterministic", [False, True])
def test_cuda_equals_cpu(deterministic: bool) -> None:
    for seed in range(8):
        results = []
        for device in ("cpu", "cuda"):
            clip, faces = (x.to(device) for x in random_triangles(seed, dtype=torch.float64))
            clip.requires_grad_()
            raster = ops.rasterize(clip, faces, (60, 50), derivatives=True, deterministic=deterministic)
            calm = raster.derivatives.abs().amax(-1, keepdim=True) < 2
            ((raster.barycentrics * calm).square().sum() + (raster.depth[..., None] * calm).sum()).backward()
            results.append([x.cpu() for x in (*raster, clip.grad)])
        assert torch.equal(results[0][0], results[1][0])
        for ours, theirs in zip(results[0][1:], results[1][1:], strict=True):
            assert_close(theirs, ours, tolerance=1e-8)
