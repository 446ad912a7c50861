"""Least squares over a row of frames whose parameters are tied by their second differences in time.

In: each frame's normal equations. Out: the step of every frame. The system is block-banded; solving it takes time and
memory in proportion to the frames.
"""

import numpy as np
import torch
from scipy.linalg import solveh_banded

#: Frame interval for which the ties' strengths are given.
REFERENCE_SECONDS = 0.04
#: Frames further apart than this are not tied.
GAP_SECONDS = 0.25


def second_difference(timestamps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Coefficients and strengths of the second difference at each inner frame.

    Args:
        timestamps: [T] seconds, increasing, not necessarily evenly.

    Returns:
        Coefficients [T − 2, 3], (1, −2, 1) for even spacing; strengths [T − 2], 1 at the reference interval, more for
        shorter ones, 0 across a gap.
    """
    before, after = timestamps[1:-1] - timestamps[:-2], timestamps[2:] - timestamps[1:-1]
    total = before + after
    coefficients = torch.stack([2 * after / total, -2 * torch.ones_like(total), 2 * before / total], -1)
    strength = (2 * REFERENCE_SECONDS / total).clamp(0.25, 4.0)
    strength = torch.where(torch.maximum(before, after) > GAP_SECONDS, torch.zeros_like(total), strength)
    return coefficients, strength


def solve_tied(
    hessian: torch.Tensor,
    gradient: torch.Tensor,
    state: torch.Tensor,
    timestamps: torch.Tensor,
    stiffness: torch.Tensor,
    robust: float,
) -> torch.Tensor:
    """One Gauss–Newton step of Σ_t data_t(x_t) + Σ_t s_t ρ(|√k · D²x|_t) with ρ of Geman–McClure's kind.

    Args:
        hessian: [T, n, n] of the data terms, with their priors.
        gradient: [T, n] of the same.
        state: [T, n] the present x.
        timestamps: [T] seconds.
        stiffness: [n] k, the square of the inverse of the second difference that is expected.
        robust: how many expected second differences (root mean square over n) a fast motion is; beyond, ties give way.

    Returns:
        Step [T, n].
    """
    count, size = state.shape
    if count < 3:
        return -torch.linalg.solve(hessian, gradient)
    coefficients, strength = second_difference(timestamps)
    bend = (
        coefficients[:, :1] * state[:-2] + coefficients[:, 1:2] * state[1:-1] + coefficients[:, 2:] * state[2:]
    )  # [T − 2, n]
    squared = (bend.square() * stiffness).mean(-1)
    weight = strength * (1 / (1 + squared / robust**2)) ** 2
    gradient = gradient.clone()
    diagonal = torch.zeros(3, count, dtype=state.dtype)  # of the ties: same frame, next, next but one
    for a in range(3):
        gradient[a : count - 2 + a] += (weight * coefficients[:, a])[:, None] * stiffness * bend
        for b in range(a, 3):
            diagonal[b - a, a : count - 2 + a] += weight * coefficients[:, a] * coefficients[:, b]
    banded = np.zeros((3 * size, count, size))  # lower form: [row − column, frame and parameter of the column]
    blocks = hessian.numpy()
    for column in range(size):
        banded[: size - column, :, column] = blocks[:, column:, column].T
    k = stiffness.numpy()
    ties = diagonal.numpy()
    for apart in range(3):
        banded[apart * size] += ties[apart][:, None] * k
    step = solveh_banded(banded.reshape(3 * size, -1), -gradient.numpy().reshape(-1), lower=True, check_finite=False)
    return torch.from_numpy(step.reshape(count, size))
