"""The enrollment and the held-out frames that the leak is measured between."""

from dataclasses import replace
from pathlib import Path

from adapt.benchmarks.leak import split_clip
from prior.cache.prepared import PreparedClip
from render.head.track import Track


def test_held_out_frames_lie_after_a_gap_that_a_short_clip_halves(talking_clip: tuple[Path, Track]) -> None:
    for slower, seconds, gap in ((6, 4.0, 2.0), (3, 2.0, 1.0)):
        track = replace(talking_clip[1], timestamps=talking_clip[1].timestamps * slower)
        split = split_clip(PreparedClip(Path("A_1"), track, {"person": "A", "crop_frames": list(range(40))}))
        assert split is not None and int(split.learn[0]) == 0 and int(split.held_out[-1]) == 39
        assert float(track.timestamps[split.learn[-1]]) < seconds
        assert float(track.timestamps[split.held_out[0]]) >= seconds + gap
    assert split_clip(PreparedClip(Path("A_1"), talking_clip[1], {"crop_frames": list(range(40))})) is None
