"""What audio to motion learns from: lags of sound and picture."""

from dataclasses import replace

import pytest
import torch

from prior.motion.model import INPUTS
from prior.motion.style import MouthStyle
from prior.speech.phonemes import INDEX
from prior.training.spoken_clips import LEAST_SYNC, SpokenClip, belonging, in_step, lag_of, lead_at_closures
from render.errors import StoreError


def clip_with_m(lead_rows: int) -> SpokenClip:
    """Five m of 100 ms; the lips are closed for as long, `lead_rows` earlier."""
    rows, opening = torch.zeros(600, INPUTS), torch.ones(600)
    for start in range(100, 600, 100):
        rows[start : start + 5, INDEX["m"]] = 0.9
        opening[start - lead_rows : start + 5 - lead_rows] = 0.0
    measures = torch.stack([opening, opening, opening], 1)
    style = MouthStyle(torch.zeros(4), torch.zeros(4), torch.ones(4), torch.tensor(600.0))
    known = torch.ones(600, dtype=torch.bool)
    return SpokenClip("c", "p", rows[:, :3], rows, torch.ones(600), torch.zeros(600, 4), known, style, measures)


@pytest.mark.parametrize("lead_rows", [-3, 0, 2])
def test_lead_at_closures_is_how_much_earlier_lips_meet(lead_rows):
    assert lead_at_closures([clip_with_m(lead_rows)]) == pytest.approx(lead_rows, abs=0.1)


def test_without_an_m_there_is_no_lead():
    clip = clip_with_m(2)
    clip.rows.zero_()
    assert lead_at_closures([clip]) == 0.0


def test_delayed_sound_meets_the_picture_again():
    clip = clip_with_m(4)  # the sound is late
    predicted = 1 - clip.rows[:, INDEX["m"]][:, None]
    lag, correlation = lag_of(predicted, clip)
    assert lag == -4 and correlation > 0.99
    assert lead_at_closures([clip.delayed(lag)]) == pytest.approx(0.0, abs=0.1)


def test_only_clips_whose_sound_belongs_to_the_picture_are_kept_in_step():
    versions = [[replace(clip_with_m(2), name=name) for _ in (1.0, 2.0)] for name in ("a", "b")]
    lags = {"a": (-6, LEAST_SYNC), "b": (0, 0.9 * LEAST_SYNC)}
    ((plain, faster),) = belonging(versions, lags, (1.0, 2.0))
    assert torch.equal(plain.rows, versions[0][0].delayed(-6).rows)
    assert torch.equal(faster.rows, versions[0][0].delayed(-3).rows)


def test_too_few_people_to_learn_from_are_said():
    with pytest.raises(StoreError, match="two people are needed whose sound belongs .*; found 1"):
        in_step([clip_with_m(2)], set())
    with pytest.raises(StoreError, match="no clip whose sound belongs"):
        belonging([[clip_with_m(2)]], {"c": (0, 0.0)}, (1.0,))
