"""The optimisation that motion and sync training share: a cosine run in which linear parts move slowly.

The linear parts start at a solution (ridge regression); everything else starts at nothing and moves ten times as fast.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from tqdm import tqdm

#: Rate of the linear parts beside that of the rest.
LINEAR_RATE = 0.1
#: How much of a smoothed loss is the one before.
SMOOTHING = 0.97


def descend(
    linear: Sequence[nn.Parameter],
    others: Sequence[nn.Parameter],
    losses: Callable[[], dict[str, torch.Tensor]],
    steps: int,
    peak_rate: float,
) -> dict[str, float]:
    """One cosine run of AdamW on the sum of the losses.

    Args:
        linear: parameters that start at a solution.
        others: the rest.
        losses: draws a batch; scalars by name.
        steps: of the run.
        peak_rate: highest learning rate, of the others.

    Returns:
        The smoothed losses at its end.
    """
    groups = [{"params": list(linear)}, {"params": list(others)}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [LINEAR_RATE * peak_rate, peak_rate], total_steps=steps, pct_start=0.1
    )
    smoothed: dict[str, float] = {}
    for _ in (progress := tqdm(range(steps), desc="train", mininterval=10)):
        terms = losses()
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_([*linear, *others], 1.0)
        optimiser.step()
        schedule.step()
        for name, value in terms.items():
            smoothed[name] = SMOOTHING * smoothed.get(name, value.item()) + (1 - SMOOTHING) * value.item()
        progress.set_postfix({name: f"{value:.3f}" for name, value in smoothed.items()}, refresh=False)
    return smoothed
