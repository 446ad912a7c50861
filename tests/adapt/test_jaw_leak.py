import pytest
import torch

from adapt.tracking.jaw_leak import USUAL_LEAK, jaw_leak, local_mean, without_jaw_leak
from render.head.camera import rotation_matrix, rotation_vector

TIMES = torch.arange(500, dtype=torch.float64) / 25
ONE_SHOT = torch.zeros(500, dtype=torch.int32)


def talking(leak, nod=0.15):
    """A head that nods slowly while its mouth moves fast; the nod and a part of the gap go together."""
    slow = torch.sin(6.28 * 0.2 * TIMES)
    gap = 0.12 + 0.05 * slow + 0.06 * torch.sin(6.28 * 3.1 * TIMES) + 0.03 * torch.sin(6.28 * 4.7 * TIMES)
    generator = torch.Generator().manual_seed(0)
    true = torch.stack([nod * slow, 0.3 + 0 * slow, 0 * slow], -1)
    true = true + 0.002 * torch.randn(500, 3, generator=generator).double()
    leaking = gap[:, None] * torch.tensor(leak, dtype=torch.float64)
    return true, gap, rotation_vector(rotation_matrix(true) @ rotation_matrix(leaking))


@pytest.mark.parametrize("leak", [USUAL_LEAK, (-0.12, 0.05, 0.0), (0.05, 0.0, -0.02)])
def test_a_tracks_own_leak_is_found_beside_slow_nods_and_taken_off(leak):
    true, gap, seen = talking(leak)
    found = jaw_leak(seen, gap, TIMES, ONE_SHOT)
    assert (found - found.new_tensor(leak)).abs().max() < 0.015
    pose = without_jaw_leak(torch.cat([seen, torch.zeros(500, 3).double()], -1), gap, TIMES, ONE_SHOT)
    assert (pose[:, :3] - true).abs().max() < 0.005


def test_a_mouth_that_does_not_move_says_nothing_of_the_leak():
    still = torch.zeros(50, 3).double()
    found = jaw_leak(still, torch.full((50,), 0.1).double(), TIMES[:50], ONE_SHOT[:50])
    assert torch.allclose(found, found.new_tensor(USUAL_LEAK))


def test_more_frames_a_second_of_the_same_motion_say_no_more():
    _, gap, seen = talking((-0.12, 0.05, 0.0))
    twice = [values.repeat_interleave(10, 0) for values in (seen[:100], gap[:100], ONE_SHOT[:100])]
    fast = torch.arange(1000, dtype=torch.float64) / 250
    once = jaw_leak(seen[:100], gap[:100], TIMES[:100], ONE_SHOT[:100])
    assert (jaw_leak(twice[0], twice[1], fast, twice[2]) - once).abs().max() < 2e-3


def test_means_stay_in_their_shot_and_keep_a_line():
    values = torch.cat([TIMES[:20], 100 + TIMES[:30]])[:, None]
    shot = (torch.arange(50) >= 20).int()
    assert torch.allclose(local_mean(values, TIMES[:50], shot), values)
    spike = torch.zeros(50, 1).double()
    spike[10] = 1.0
    assert local_mean(spike, TIMES[:50], shot)[:20].count_nonzero() > 5
    assert local_mean(spike, TIMES[:50], shot)[20:].count_nonzero() == 0
