"""Diffusion maths: a noise schedule and its deterministic steps. Knows no network, no data and no loop.

Timesteps run from 1 (noise only) to 0 (clean). Variance preserving: noisy = signal · clean + noise_level · noise, with
signal² + noise_level² = 1 and the angle of the pair linear in the timestep (the cosine schedule of Nichol & Dhariwal
2021, arXiv 2102.09672, in continuous time). Networks predict the clean series (prediction_type "sample").
"""

from __future__ import annotations

import math

import torch


def levels(timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Signal and noise level of timesteps in [0, 1], both of their shape.

    >>> [round(float(level), 3) for level in levels(torch.tensor(0.5))]
    [0.707, 0.707]
    """
    angle = timestep * (math.pi / 2)
    return torch.cos(angle), torch.sin(angle)


def noised(clean: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """Clean and noise [B, T, E] mixed at timestep [B]."""
    signal, noise_level = (level[:, None, None] for level in levels(timestep))
    return signal * clean + noise_level * noise


def step(noisy: torch.Tensor, clean: torch.Tensor, timestep: float, towards: float) -> torch.Tensor:
    """One deterministic step (DDIM, arXiv 2010.02502, equation 12 with eta 0), from a timestep to a smaller one.

    Args:
        noisy: [.., E] at `timestep` > 0.
        clean: [.., E] what the network takes the clean series to be.
        timestep: in (0, 1].
        towards: in [0, timestep); 0 gives `clean`.
    """
    signal, noise_level = levels(torch.tensor(timestep, dtype=torch.float64))
    later_signal, later_noise = levels(torch.tensor(towards, dtype=torch.float64))
    noise = (noisy - float(signal) * clean) / float(noise_level)
    return float(later_signal) * clean + float(later_noise) * noise


def timesteps(count: int) -> list[float]:
    """`count` + 1 evenly spaced timesteps from 1 to 0."""
    if count < 1:
        raise ValueError(f"timesteps(): count must be at least 1, got {count}")
    return [1 - index / count for index in range(count + 1)]
