import numpy as np
import pytest
import torch

from adapt.dubbing.options import DubOptions
from adapt.motion.controls import RANGE_LIMIT, Cue, MouthScale, PlacedMotion, Speaker, directed, retarget
from adapt.motion.placement import Placement, motion_at
from adapt.motion.sources import held
from prior.face.model import load_face_model
from render.errors import ConfigError, DubError
from render.head.motion import Motion


def ramp_motion(seconds, fps=25):
    times = torch.arange(round(seconds * fps), dtype=torch.float64) / fps
    return Motion(times, torch.stack([times, -times], -1).float(), torch.ones(len(times)))


@pytest.mark.parametrize("fps", [24000 / 1001, 25, 30000 / 1001, 60])
def test_motion_lands_on_the_frames_own_times(fps):
    shot = 5.0 + torch.arange(round(4 * fps), dtype=torch.float64) / fps
    expression, driven = motion_at(ramp_motion(4.0), shot, torch.zeros(2))
    inner = shot - 5.0 < 3.95
    torch.testing.assert_close(expression[inner, 0], (shot - 5.0)[inner].float(), atol=1e-5, rtol=0)
    assert driven.all()


def test_offset_moves_the_motion_later():
    shot = torch.arange(100, dtype=torch.float64) / 25
    expression, _ = motion_at(ramp_motion(4.0), shot, torch.zeros(2), "hold", offset_seconds=0.4)
    torch.testing.assert_close(expression[50, 0], torch.tensor(2.0 - 0.4), atol=1e-5, rtol=0)


def test_each_mismatch_word_does_what_it_says():
    shot = torch.arange(100, dtype=torch.float64) / 25
    short, rest = ramp_motion(2.0), torch.tensor([7.0, 8.0])
    with pytest.raises(DubError, match="2.00 s shorter than the shot"):
        motion_at(short, shot, rest)
    with pytest.raises(DubError, match="choose one of"):
        motion_at(short, shot, rest, "loop")
    _, driven = motion_at(short, shot, rest, "trim")
    assert driven[:50].all() and not driven[60:].any()
    padded, driven = motion_at(short, shot, rest, "pad")
    assert driven.all() and (padded[60:] == rest).all()
    assert (padded.diff(dim=0)[48:].abs().max(0).values < 0.4 * (rest - short.lower_expression[-1]).abs()).all()
    held, _ = motion_at(short, shot, rest, "hold")
    assert (held[60:] == short.lower_expression[-1]).all()


def test_a_shot_lasts_until_its_last_picture_ends():
    times = np.arange(50) / 25 + 7.0
    ends = np.append(times[1:], 11.0)  # the last picture is held for two seconds
    whole = Placement()
    everything = whole.inside(times, ends, "shot")
    assert whole.seconds(times, ends, everything) == pytest.approx(4.0)
    part = Placement((0.5, 3.0))
    assert part.seconds(times, ends, part.inside(times, ends, "shot")) == pytest.approx(3.0 - 0.52)
    inner = Placement((0.5, 1.0))
    assert inner.seconds(times, ends, inner.inside(times, ends, "shot")) == pytest.approx(0.48)
    with pytest.raises(DubError, match="no frame begins in it; shot is 4.00 s long"):
        Placement((2.5, 3.0)).inside(times, ends, "shot")
    shot = torch.from_numpy(times)
    _, driven = motion_at(ramp_motion(4.0), shot, torch.zeros(2), shot_seconds=4.0)
    assert driven.all()
    with pytest.raises(DubError, match="2.00 s longer than the shot"):
        motion_at(ramp_motion(4.0), shot, torch.zeros(2))


def test_a_driving_videos_last_picture_is_held_as_long_as_its_file_says():
    motion = held(ramp_motion(2.0), 4.0)
    shot = torch.arange(100, dtype=torch.float64) / 25
    expression, driven = motion_at(motion, shot, torch.zeros(2))
    assert driven.all()
    torch.testing.assert_close(expression[60:], motion.lower_expression[-1].expand(40, -1))
    assert held(ramp_motion(2.0), 2.0).timestamps.equal(ramp_motion(2.0).timestamps)


def test_frames_whose_driver_is_unknown_are_not_driven():
    motion = ramp_motion(4.0)
    motion.confidence[40:60] = 0
    shot = torch.arange(100, dtype=torch.float64) / 25
    _, driven = motion_at(motion, shot, torch.zeros(2))
    assert not driven[42:58].any() and driven[:39].all() and driven[62:].all()


def test_retarget_and_scale_are_about_the_closed_mouth():
    expression = torch.tensor([[1.0], [3.0]])
    one, less, two = torch.tensor([1.0]), torch.tensor([0.8]), torch.tensor([2.0])
    torch.testing.assert_close(retarget(expression, one, one, two, less), torch.tensor([[2.0], [3.6]]))
    torch.testing.assert_close(retarget(expression, one, one, two, 0.1 * one), 2 + (expression - 1) / RANGE_LIMIT)
    flat = torch.zeros(2)
    motion = PlacedMotion(torch.arange(2, dtype=torch.float64), expression, one.expand(2, 1), flat, flat, flat)
    speaker = Speaker(1, one, one, one, one, one, load_face_model())
    smaller = directed(motion, speaker, [Cue(MouthScale(0.6))])
    torch.testing.assert_close(smaller, torch.tensor([[1.0], [2.2]]))
    both = directed(motion, speaker, [Cue(MouthScale(0.6)), Cue(MouthScale(1.4))])
    torch.testing.assert_close(both, torch.tensor([[1.0], [2.68]]))
    with pytest.raises(ConfigError, match="0.6 to 1.4"):
        DubOptions(mouth=3.0)
