import pytest
import torch

from adapt.tracking.smoothing import second_difference, solve_chain, solve_tied


@pytest.mark.parametrize("frames", [3, 8, 9])
def test_the_banded_step_equals_a_dense_solve(frames):
    generator = torch.Generator().manual_seed(0)
    size = 4
    factor = torch.randn(frames, size, size, generator=generator, dtype=torch.float64)
    hessian = factor @ factor.transpose(1, 2) + torch.eye(size)
    gradient = torch.randn(frames, size, generator=generator, dtype=torch.float64)
    state = torch.randn(frames, size, generator=generator, dtype=torch.float64)
    times = torch.tensor([0.0, 0.04, 0.08, 0.13, 0.17, 0.9, 0.94, 0.98, 1.02], dtype=torch.float64)[:frames]
    stiffness = torch.tensor([1.0, 2.0, 0.5, 0.1], dtype=torch.float64)
    step = solve_tied(hessian, gradient, state, times, stiffness, robust=1e6)

    coefficients, strength = second_difference(times)
    tie = torch.zeros(frames - 2, frames, dtype=torch.float64)
    for row in range(frames - 2):
        tie[row, row : row + 3] = coefficients[row] * strength[row].sqrt()
    dense = torch.block_diag(*hessian) + torch.kron(tie.T @ tie, torch.diag(stiffness))
    right = gradient.flatten() + torch.kron(tie.T @ tie, torch.diag(stiffness)) @ state.flatten()
    torch.testing.assert_close(step, -torch.linalg.solve(dense, right).reshape(frames, size))


def test_uneven_times_leave_straight_motion_alone_and_gaps_are_not_tied():
    times = torch.tensor([0.0, 0.03, 0.08, 0.1, 0.8, 0.84], dtype=torch.float64)
    coefficients, strength = second_difference(times)
    straight = 3 + 2 * times
    bend = (coefficients * torch.stack([straight[:-2], straight[1:-1], straight[2:]], -1)).sum(-1)
    torch.testing.assert_close(bend, torch.zeros(4, dtype=torch.float64))
    assert (strength[2:] == 0).all() and (strength[:2] > 0).all()


def test_a_chain_equals_a_dense_solve():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    ties = torch.tensor([1.0, 5.0, 0.0, 20.0, 3.0, 100.0, 0.5, 2.0], dtype=torch.float64)
    step = torch.eye(9, dtype=torch.float64).diff(dim=0)
    dense = torch.eye(9, dtype=torch.float64) + step.T @ torch.diag(ties) @ step
    torch.testing.assert_close(solve_chain(ties, values), torch.linalg.solve(dense, values))
