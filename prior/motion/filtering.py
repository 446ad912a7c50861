"""Linear filters over time: which rows they reach, and the personal one that is added to what a motion model hears.

In: rows at `LABEL_RATE`. A filter reads `LINEAR_TAPS` of them, evenly spaced within `LINEAR_REACH_ROWS` to either side.
"""

from __future__ import annotations

import torch
from torch import nn

LINEAR_TAPS, LINEAR_STEP_ROWS = 11, 2  # every 40 ms within 0.2 s to either side
LINEAR_REACH_ROWS = (LINEAR_TAPS - 1) // 2 * LINEAR_STEP_ROWS


def with_context(rows: torch.Tensor) -> torch.Tensor:
    """Rows [T, D] side by side with their neighbours, [T, LINEAR_TAPS * D], earliest first."""
    padded = nn.functional.pad(rows.T[None], (LINEAR_REACH_ROWS, LINEAR_REACH_ROWS), mode="replicate")[0].T
    starts = (tap * LINEAR_STEP_ROWS for tap in range(LINEAR_TAPS))
    return torch.cat([padded[start : start + len(rows)] for start in starts], 1)


def with_constant(rows: torch.Tensor) -> torch.Tensor:
    """What a personal filter reads: rows [T, D] with their neighbours, and a 1; [T, LINEAR_TAPS * D + 1]."""
    return torch.cat([with_context(rows), torch.ones(len(rows), 1)], 1)


def filtered(rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """What a personal filter [E, LINEAR_TAPS * D + 1] makes of rows [T, D]: [T, E]."""
    return with_constant(rows) @ weights.T
