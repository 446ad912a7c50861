"""Track: how long frames are and which are sure."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from render.errors import StoreError
from render.head.track import SURE_CONFIDENCE, Track, frame_seconds
from render.store import save_tensors


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


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rotation", torch.zeros(4, 2), "rotation is"),
        ("focal_px", torch.full((40,), float("inf")), "no numbers"),
        ("focal_px", torch.full((40,), -1.0), "not between"),
        ("rotation", torch.full((40, 3), 1e30), "rotation holds values that are not between"),
        ("shape", torch.full((40,), -1e30), "shape holds values that are not between"),
        ("width", 2**70, "damaged"),
        ("crop_size", 0, "damaged"),
        ("crop_size", "256", "damaged"),
        ("source", [], "damaged"),
        ("colour", 7, "damaged"),
    ],
)
def test_a_track_that_is_none_is_refused_by_name(talking_clip, tmp_path, name, value, message):
    path = tmp_path / "other.safetensors"
    values = {**vars(talking_clip[1]), name: value}
    tensors = {key: one for key, one in values.items() if isinstance(one, torch.Tensor)}
    save_tensors(path, "adapt-track", 1, tensors, {key: one for key, one in values.items() if key not in tensors})
    with pytest.raises(StoreError, match=message) as refused:
        Track.load(path)
    assert len(str(refused.value).splitlines()) == 1


def test_a_good_track_comes_back(talking_clip, tmp_path):
    talking_clip[1].save(tmp_path / "one.safetensors")
    loaded = Track.load(tmp_path / "one.safetensors")
    for key, value in vars(talking_clip[1]).items():
        assert (
            torch.equal(value, getattr(loaded, key))
            if isinstance(value, torch.Tensor)
            else value == getattr(loaded, key)
        )
