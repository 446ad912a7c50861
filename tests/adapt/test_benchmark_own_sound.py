import math

import pytest
import torch

from adapt.benchmarks.own_sound import OwnSoundSplit, at_lag, scores, table


def test_what_is_dubbed_is_the_end_and_a_second_lies_between():
    assert OwnSoundSplit.of(20.0, 7.0) == OwnSoundSplit((0.0, 12.0), (13.0, 20.0))
    short = OwnSoundSplit.of(9.0, 7.0)
    assert short.dubbed == (5.0, 9.0) and short.learnt == (0.0, 4.0)


def test_a_result_that_follows_late_and_opens_half_as_wide_is_told():
    seconds = torch.arange(150, dtype=torch.float64) / 25
    true = 0.2 + 0.1 * torch.sin(2 * math.pi * 0.7 * seconds)
    late = 0.2 + 0.1 * torch.sin(2 * math.pi * 0.7 * (seconds - 0.2))
    found = scores(late, true, true, seconds)
    assert found["lag_ms"] == pytest.approx(200, abs=20) and found["ccc at lag"] > 0.99 > 0.7 > found["ccc"]
    assert found["ccc asked"] == pytest.approx(1.0) and found["spread asked"] == pytest.approx(1.0)
    half = scores(0.2 + 0.5 * (true - 0.2), true, true, seconds)
    assert half["spread"] == pytest.approx(0.5, abs=0.01) and half["ccc"] == pytest.approx(0.8, abs=0.01)
    assert at_lag(true, true, seconds, 0.0) == pytest.approx(1.0)


def test_the_table_has_every_clip_and_the_mean():
    values = {"ccc": 0.5, "ccc asked": 0.6, "r": 0.5, "spread": 1.0, "spread asked": 1.0, "lag_ms": 0.0}
    line = {"clip": "a", "frames": 99, **values, "ccc at lag": 0.5, "mouth": "known", "notes": ["why"]}
    text = table([line, {**line, "clip": "b", "ccc": 0.3}])
    assert "| a | 99 | 0.5 |" in text and "| mean of 2 | | 0.400 |" in text and "| why |" in text
