"""Sampling mouth motion around the predictor's mean: the denoising network, and the loop that draws from it.

The predictor says what the mouth does on average for a sound; a sample also moves by what the sound does not tell. The
network sees `MotionDenoiser.context_rows` rows to either side and nothing else, and every step is taken over the whole
sound, so that windows leave no seam and a sound of any length costs the same a second.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from prior.motion import diffusion
from prior.speech.phonetics import ConvolutionBlock

PIECE_ROWS = 1500  # rows computed at once (30 s): bounds memory, does not change the result
SAMPLING_STEPS = 8
TIME_WAVES = 8  # sines and cosines from which the network reads the timestep


def in_pieces(
    network: Callable[..., torch.Tensor], series: tuple[torch.Tensor, ...], context_rows: int
) -> torch.Tensor:
    """Run a network with bounded context over long series [T, ..] in pieces whose borders leave no trace."""
    count, pieces = len(series[0]), []
    for first in range(0, count, PIECE_ROWS):
        begin, end = max(0, first - context_rows), min(count, first + PIECE_ROWS + context_rows)
        piece = network(*(one[None, begin:end] for one in series))[0]
        pieces.append(piece[first - begin : first - begin + PIECE_ROWS])
    return torch.cat(pieces)


class MotionDenoiser(nn.Module):
    """Clean displacement [B, T, E] from a noisy one, the predictor's mean, and the rows heard."""

    def __init__(self, axes: int, inputs: int, width: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.dilations = dilations
        self.entry = nn.Linear(2 * axes + inputs, width)
        self.time = nn.Linear(2 * TIME_WAVES, width)
        self.blocks = nn.ModuleList(ConvolutionBlock(width, dilation) for dilation in dilations)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, axes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def context_rows(self) -> int:
        """Rows to either side that can change a row."""
        return 3 * sum(self.dilations)

    def forward(
        self, noisy: torch.Tensor, mean: torch.Tensor, rows: torch.Tensor, timestep: torch.Tensor
    ) -> torch.Tensor:
        """Noisy and mean [B, T, E], rows [B, T, inputs], timestep [B] in [0, 1]; untrained, it gives the mean."""
        waves = timestep[:, None] * 2.0 ** torch.arange(TIME_WAVES)
        time_code = self.time(torch.cat([waves.sin(), waves.cos()], -1))[:, None]
        hidden = self.entry(torch.cat([noisy, mean, rows], -1)) + time_code
        for block in self.blocks:
            hidden = block(hidden)
        return mean + self.head(self.norm(hidden))


@torch.no_grad()
def sample(
    denoiser: MotionDenoiser,
    mean: torch.Tensor,
    rows: torch.Tensor,
    seed: int = 0,
    steps: int = SAMPLING_STEPS,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Draw one displacement [T, E]; the same arguments give the same one.

    Args:
        denoiser: trained.
        mean: [T, E] of the predictor.
        rows: [T, inputs] of the sound.
        seed: of the noise.
        steps: of `diffusion.step`.
        temperature: scales the first noise: 0 stays near the mean, 1 has all of the variance.
    """
    noisy = temperature * torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
    times = diffusion.timesteps(steps)
    for timestep, towards in zip(times, times[1:], strict=False):
        now = torch.tensor([timestep])

        def denoised(*series: torch.Tensor, now: torch.Tensor = now) -> torch.Tensor:
            return denoiser(*series, now)

        clean = in_pieces(denoised, (noisy, mean, rows), denoiser.context_rows)
        noisy = diffusion.step(noisy, clean, timestep, towards)
    return noisy
