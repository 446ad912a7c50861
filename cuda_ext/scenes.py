"""Meshes for the tests and the bench of the ops, and the comparison that the tests share."""

import math

import torch
from torch import Tensor

# Relative to the largest value; other types must be equal.
TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 2e-3}


def ellipsoid(rings: int, segments: int, batch: int = 1, radius: float = 0.85) -> tuple[Tensor, Tensor, Tensor]:
    """Make a closed mesh in perspective that fills `radius` of the image, wider than a face but as tall.

    Args:
        rings: rows of quads from pole to pole.
        segments: quads around; 2 x rings x segments faces.
        batch: images; each turned a little further.
        radius: share of the half image that it reaches.

    Returns:
        clip_positions float32 [B, V, 4], faces int32 [F, 3], uv float32 [V, 2].
    """
    down, around = torch.meshgrid(torch.linspace(0, 1, rings + 1), torch.linspace(0, 1, segments + 1), indexing="ij")
    images = []
    for index in range(batch):
        turn = 2 * math.pi * around + 0.1 * index
        x, y, z = (math.pi * down).sin() * turn.cos(), (math.pi * down).cos(), (math.pi * down).sin() * turn.sin()
        w = 2 + 0.2 * z
        images.append(torch.stack([radius * x * w, radius * y * w, 0.5 * z * w, w], dim=-1).flatten(0, 1))
    first = (torch.arange(rings)[:, None] * (segments + 1) + torch.arange(segments)).flatten()
    upper = torch.stack([first, first + 1, first + segments + 1], dim=1)
    lower = torch.stack([first + 1, first + segments + 2, first + segments + 1], dim=1)
    uv = torch.stack([around, down], dim=-1).flatten(0, 1)
    return torch.stack(images), torch.cat([upper, lower]).int(), uv.contiguous()


def random_triangles(
    seed: int, batch: int = 2, vertices: int = 40, faces: int = 40, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Make a scene of everything awkward: slivers, degenerate, duplicate, off-screen faces, crossings of every plane.

    Args:
        seed: of the random numbers.
        batch: images.
        vertices: per image.
        faces: random ones; four awkward ones are added.
        dtype: of the positions.

    Returns:
        clip_positions [B, V, 4], faces int32 [F + 4, 3].
    """
    generator = torch.Generator().manual_seed(seed)
    clip = torch.randn(batch, vertices, 4, generator=generator, dtype=torch.float64)
    clip[..., 3] = 1 + 0.7 * clip[..., 3]  # some w are negative: behind the camera
    clip[:, 0] = clip[:, 1] + 1e-4 * clip[:, 0]  # slivers along vertex 0
    clip[:, 2, :2] *= 100  # far off screen
    chosen = torch.randint(0, vertices, (faces, 3), generator=generator)
    awkward = torch.tensor([[0, 1, 4], [3, 3, 5], chosen[0].tolist(), chosen[1].roll(1).tolist()])
    return clip.to(dtype).contiguous(), torch.cat([chosen, awkward]).int()


def assert_close(actual: Tensor, expected: Tensor, *, tolerance: float | None = None) -> None:
    """Compare to a share of the largest expected value, by the type of `actual`; tells the worst index.

    Args:
        actual: any tensor.
        expected: same shape; compared in float64.
        tolerance: instead of the table's; the measured error belongs in a comment beside it.

    Raises:
        AssertionError: shapes differ, or a value is too far off.
    """
    assert actual.shape == expected.shape, f"shapes differ: {list(actual.shape)} and {list(expected.shape)}"
    if actual.numel() == 0:
        return
    limit = TOLERANCES.get(actual.dtype, 0.0) if tolerance is None else tolerance
    error = (actual.double() - expected.double()).abs()
    scale = max(expected.double().abs().max().item(), 1.0)
    worst = error.argmax().item() if not error.isnan().any() else error.isnan().flatten().int().argmax().item()
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), error.shape))
    got, want = actual[index].item(), expected[index].item()
    assert error[index].item() <= limit * scale, f"at {index}: {got} is not {want}; allowed {limit * scale:.1e}"
