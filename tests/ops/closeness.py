"""How near an op has to be to its twin: one table by dtype, and a check that prints the worst place."""

import torch
from torch import Tensor

# Relative to the largest value; other types must be equal.
TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 2e-3}


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
