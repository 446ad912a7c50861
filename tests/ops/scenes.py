"""Scenes for the tests of ops: random triangles, with all that makes rasterizers disagree."""

import torch
from torch import Tensor


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
