"""Splits and tables of the scores of fits."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adapt.benchmarks.fit import FIT, PRIOR, split_fit, table
from prior.cache.prepared import PreparedClip
from render.head.track import Track


@pytest.fixture
def clip(talking_clip: tuple[Path, Track]) -> PreparedClip:
    """Forty frames over 9.4 seconds; no crops."""
    track = talking_clip[1]
    track = replace(track, timestamps=track.timestamps * 6)
    return PreparedClip(Path("A_1"), track, {"person": "A", "crop_frames": list(range(40))})


def test_the_same_frames_judge_every_length_of_enrollment(clip):
    splits = split_fit(clip, [4.0, 3.0, 8.0])
    assert sorted(splits) == [3.0, 4.0], "8 s do not fit"
    times = clip.track.timestamps
    assert torch.equal(splits[3.0].held_out, splits[4.0].held_out) and len(splits[4.0].held_out) >= 4
    for seconds, split in splits.items():
        start = float(times[split.held_out[0]])
        assert start - float(times[split.learn[-1]]) >= 2.0 - 1e-6
        assert seconds - 0.5 < float(times[split.learn[-1]] - times[split.learn[0]]) < seconds
        assert int(split.held_out[-1]) == 39
    assert set(split_fit(clip, [2.0])) == {2.0} and split_fit(clip, [9.0]) == {}
    short = split_fit(clip, [2.0])[2.0]
    assert 1.0 <= float(times[short.held_out[0]] - times[short.learn[-1]]) < 1.5, "a row of its own, with a shorter gap"


def test_table_pairs_the_fit_with_every_other_method():
    def line(person: str, method: str, psnr: float) -> dict[str, object]:
        region = {"psnr": psnr, "squeezenet": 30 - psnr, "texture": 0.8, "flicker": 1.0, "ssim": 0.9}
        return {"person": person, "seconds": 4.0, "method": method, "scores": {"mouth": region, "erased": region}}

    text = table([line("A", PRIOR, 20), line("A", FIT, 24), line("B", PRIOR, 23), line("B", FIT, 22)])
    assert "| 4 | 2 | prior + fit | 23.000 | 7.000 | 0.800 |" in text
    assert "4 s, fit against prior, 2 people: mouth psnr +1.500 dB (better for 50%)" in text
