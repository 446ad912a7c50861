"""Diffusion schedule and steps, and the sampler around the predictor's mean."""

import math

import pytest
import torch

from prior.motion import diffusion, sampling
from prior.motion.sampling import MotionDenoiser


def trained_like(width: int = 16) -> MotionDenoiser:
    """A denoiser whose head does something."""
    torch.manual_seed(0)
    denoiser = MotionDenoiser(3, 5, width, (1, 2))
    torch.nn.init.normal_(denoiser.head.weight, std=0.1)
    return denoiser.eval()


def test_levels_keep_the_variance_and_noise_is_taken_off_exactly():
    times = torch.linspace(0, 1, 7)
    signal, noise_level = diffusion.levels(times)
    torch.testing.assert_close(signal**2 + noise_level**2, torch.ones(7))
    clean, noise = torch.randn(7, 4, 2), torch.randn(7, 4, 2)
    noisy = diffusion.noised(clean, noise, times)
    torch.testing.assert_close(noisy[0], clean[0])
    torch.testing.assert_close(noisy[-1], noise[-1], atol=1e-6, rtol=0)
    # A step with the true clean series lands on the same series at the later timestep.
    later = diffusion.step(noisy[4], clean[4], float(times[4]), 0.25)
    expected = math.cos(math.pi / 8) * clean[4] + math.sin(math.pi / 8) * noise[4]
    torch.testing.assert_close(later, expected, atol=1e-5, rtol=0)


def test_timesteps_by_hand():
    assert diffusion.timesteps(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    with pytest.raises(ValueError, match="at least 1"):
        diffusion.timesteps(0)


def test_an_untrained_denoiser_gives_the_mean():
    mean, rows = torch.randn(50, 3), torch.randn(50, 5)
    drawn = sampling.sample(MotionDenoiser(3, 5, 16, (1, 2)).eval(), mean, rows)
    torch.testing.assert_close(drawn, mean, atol=1e-6, rtol=0)


def test_samples_have_no_seams_and_follow_the_seed(monkeypatch):
    denoiser = trained_like()
    mean, rows = torch.randn(400, 3), torch.randn(400, 5)
    whole = sampling.sample(denoiser, mean, rows, seed=3)
    torch.testing.assert_close(sampling.sample(denoiser, mean, rows, seed=3), whole)
    assert not torch.allclose(sampling.sample(denoiser, mean, rows, seed=4), whole)
    monkeypatch.setattr(sampling, "PIECE_ROWS", 37)
    torch.testing.assert_close(sampling.sample(denoiser, mean, rows, seed=3), whole, atol=1e-4, rtol=0)


def test_a_denoiser_learns_to_put_back_what_the_mean_lacks():
    """Truth is the mean plus a slow wave of random phase, which the mean cannot know: samples get its variance."""
    torch.manual_seed(0)
    denoiser = MotionDenoiser(1, 1, 24, (1, 2, 4))
    optimiser = torch.optim.Adam(denoiser.parameters(), 3e-3)
    clock, mean = torch.arange(64.0), torch.zeros(16, 64, 1)
    for _ in range(150):
        truth = torch.sin(clock / 5 + 2 * math.pi * torch.rand(16, 1))[..., None]
        timestep = torch.rand(16)
        noisy = diffusion.noised(truth, torch.randn(truth.shape), timestep)
        loss = (denoiser(noisy, mean, mean, timestep) - truth).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    drawn = sampling.sample(denoiser.eval(), torch.zeros(400, 1), torch.zeros(400, 1))
    assert 0.4 < drawn.std() < 1.0  # the wave's is 0.71, the mean's 0
    assert drawn.diff(dim=0).std() < 0.3  # and slow, unlike noise
