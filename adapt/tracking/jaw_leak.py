"""How far a tracked head turns as its mouth opens, and head poses without that.

In: head poses and the lip gap, of all frames of one person. Out: the same poses less what follows the gap. The
detector's mesh is a learnt whole: points that no jaw moves stir with it, each person's and each picture's in its own
way; and a little skin does move with the jaw. A skull does not: what of its turns is faster than half a second hardly
depends on the gap, so that dependence is the leak. It is measured on each track, held near what is usual.
"""

import torch

from render.head.camera import rotation_matrix, rotation_vector
from render.head.track import frame_seconds

#: Turn (axis-angle in head axes, radians) that a lip gap of one eye distance adds: what is usual, and how much it
#: differs between tracks. Both are measured on the people of the face model.
USUAL_LEAK = (-0.02, 0.0, 0.0)
LEAK_SPREAD = (0.03, 0.03, 0.02)
#: Changes faster than about this count.
FAST_SECONDS = 0.5
#: Neighbouring frames err alike: all within so long say as much as one.
SHARED_SECONDS = 0.2


def without_jaw_leak(
    pose: torch.Tensor, gap: torch.Tensor, timestamps: torch.Tensor, shot: torch.Tensor
) -> torch.Tensor:
    """Poses [N, 6] less the turn that goes with the lip gap; the head turns about its origin.

    Args:
        pose: [N, 6], rotation first.
        gap: [N] lip gap, in eye distances.
        timestamps: [N] seconds, ascending.
        shot: [N].
    """
    leak = jaw_leak(pose[:, :3], gap, timestamps, shot)
    turned = rotation_matrix(pose[:, :3]) @ rotation_matrix(-leak * gap[:, None])
    return torch.cat([rotation_vector(turned), pose[:, 3:]], -1)


def jaw_leak(rotation: torch.Tensor, gap: torch.Tensor, timestamps: torch.Tensor, shot: torch.Tensor) -> torch.Tensor:
    """The leak [3] of a track: ridge regression of fast turns on fast changes of the gap, towards `USUAL_LEAK`."""
    slow = local_mean(torch.cat([rotation, gap[:, None]], -1), timestamps, shot)
    turns = rotation_vector(rotation_matrix(slow[:, :3]).transpose(1, 2) @ rotation_matrix(rotation))  # in head axes
    change = gap - slow[:, 3]
    usual = rotation.new_tensor(USUAL_LEAK)
    rest = turns - change[:, None] * usual
    shared = max(1, round(SHARED_SECONDS / max(frame_seconds(timestamps), 1e-3)))  # frames
    information = change @ change / shared
    noise = rest.square().mean(0)
    certainty = rotation.new_tensor(LEAK_SPREAD) ** -2 * noise
    return usual + (change @ rest / shared) / (information + certainty).clamp(min=1e-12)


def local_mean(values: torch.Tensor, timestamps: torch.Tensor, shot: torch.Tensor) -> torch.Tensor:
    """Mean of rows [N, K] over as many neighbours on either side as `FAST_SECONDS` hold, never across a cut."""
    index = torch.arange(len(values))
    first, last = torch.searchsorted(shot, shot), torch.searchsorted(shot, shot, right=True) - 1
    low = torch.searchsorted(timestamps, timestamps - FAST_SECONDS / 2)
    high = torch.searchsorted(timestamps, timestamps + FAST_SECONDS / 2, right=True) - 1
    reach = torch.minimum(index - torch.maximum(low, first), torch.minimum(high, last) - index)
    total = torch.cat([values.new_zeros(1, values.shape[1]), values.cumsum(0)])
    return (total[index + reach + 1] - total[index - reach]) / (2 * reach + 1)[:, None]
