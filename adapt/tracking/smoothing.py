"""Least squares over a row of frames whose parameters are tied by their second differences in time.

In: each frame's normal equations. Out: the step of every frame. The system is block-banded; solving it takes time and
memory in proportion to the frames.
"""

import torch

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
    blocks = hessian + torch.diag_embed(diagonal[0][:, None] * stiffness)
    return solve_banded(blocks, diagonal[1:, :, None] * stiffness, -gradient)


def solve_banded(blocks: torch.Tensor, ties: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Solve a symmetric positive definite system whose frames are tied to the next two (block Cholesky).

    Two frames at a time are one block of a block-tridiagonal matrix. (LAPACK's banded solver would do, but SciPy's
    starts threads for it, which on a busy machine cost ten times what is to be computed.)

    Args:
        blocks: [T, n, n] of each frame.
        ties: [2, T, n] diagonals of the block that ties a frame to the next, and to the next but one.
        right: [T, n].

    Returns:
        Solution [T, n].
    """
    count, size = right.shape
    if count % 2:  # a frame more, tied to none, with solution 0
        blocks = torch.cat([blocks, torch.eye(size, dtype=right.dtype)[None]])
        ties, right = torch.nn.functional.pad(ties, (0, 0, 0, 1)), torch.nn.functional.pad(right, (0, 0, 0, 1))
    (next_even, next_odd), (after_even, after_odd) = (
        (torch.diag_embed(tie[::2]), torch.diag_embed(tie[1::2])) for tie in ties
    )
    inner = torch.cat([torch.cat([blocks[::2], next_even], 2), torch.cat([next_even, blocks[1::2]], 2)], 1)
    outer = torch.cat(
        [torch.cat([after_even, torch.zeros_like(after_even)], 2), torch.cat([next_odd, after_odd], 2)], 1
    )  # to the next block
    wanted = torch.cat([outer, right.reshape(len(inner), 2 * size, 1)], 2)
    gains: list[torch.Tensor] = []  # what a block's solution is: last column − others · the next
    for row in range(len(inner)):
        block, target = inner[row], wanted[row]
        if row:
            block = block - outer[row - 1].T @ gains[-1][:, :-1]
            target = target - torch.nn.functional.pad(outer[row - 1].T @ gains[-1][:, -1:], (2 * size, 0))
        gains.append(torch.cholesky_solve(target, torch.linalg.cholesky(block)))
    solution = [gains[-1][:, -1]]
    for gain in reversed(gains[:-1]):
        solution.append(gain[:, -1] - gain[:, :-1] @ solution[-1])
    return torch.cat(solution[::-1]).reshape(-1, size)[:count]


def solve_chain(ties: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The x [T, n] that minimises Σ_t |x_t − values_t|² + Σ_t ties_t |x_{t+1} − x_t|², for ties [T − 1] ≥ 0."""
    before, after = torch.nn.functional.pad(ties, (1, 0)), torch.nn.functional.pad(ties, (0, 1))
    # Elimination from the first frame on: x_t = part_t + share_t · x_{t+1}.
    parts, shares = [], []
    part, share = torch.zeros_like(values[0]), 0.0
    for value, low, high in zip(values, before.tolist(), after.tolist(), strict=True):
        pivot = 1 + low * (1 - share) + high
        part, share = (value + low * part) / pivot, high / pivot
        parts.append(part)
        shares.append(share)
    for row in range(len(parts) - 2, -1, -1):
        parts[row] = parts[row] + shares[row] * parts[row + 1]
    return torch.stack(parts)
