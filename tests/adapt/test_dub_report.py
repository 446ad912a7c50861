from types import SimpleNamespace

import numpy as np
import torch

from adapt.dubbing.report import Recorder
from render.compositing.composite import Patch
from render.video.reader import Footage


def test_a_late_range_is_what_report_and_sheet_show(talking_clip, monkeypatch):
    path, track = talking_clip
    part = SimpleNamespace(track=track, driven=torch.zeros(len(track), dtype=torch.bool))
    part.driven[30:] = True
    monkeypatch.setattr("adapt.dubbing.report.MOST_SHOWN", 20)
    monkeypatch.setattr("adapt.dubbing.report.LEAD_SECONDS", 0.2)
    recorder = Recorder(part)
    patched = Patch(np.ones((8, 8, 3), np.float32), np.ones((8, 8), np.float32), track.crop_from_image[0].numpy())
    for frame in Footage(path).frames():
        recorder(frame, [patched] if frame.index >= 30 else [])
    assert recorder.frames == list(range(25, 40))
    assert all(index >= 30 for _, index, _, _ in recorder.worst())
