"""Track: how long frames are and which are sure."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from render.head.track import SURE_CONFIDENCE, Track, frame_seconds


@pytest.fixture
def track(talking_clip: tuple[Path, Track]) -> Track:
    """Four frames alone, three of which differ in length."""
    times = torch.tensor([2.0, 2.04, 2.14, 2.17], dtype=torch.float64)
    return replace(talking_clip[1], timestamps=times, confidence=torch.tensor([0.0, 0.49, SURE_CONFIDENCE, 1.0]))


def test_a_track_is_as_long_as_its_frames_the_last_one_included(track):
    assert track.frame_seconds == pytest.approx(0.04)
    assert track.duration_seconds == pytest.approx(0.21)
    alone = replace(track, timestamps=track.timestamps[:1])
    assert alone.frame_seconds == 0.0 and alone.duration_seconds == 0.0


def test_of_two_lengths_in_the_middle_the_shorter_is_a_frames(track):
    assert frame_seconds(track.timestamps[:3]) == pytest.approx(0.04)


def test_sure_frames_are_those_of_at_least_half_confidence(track):
    assert track.sure().tolist() == [False, False, True, True]
