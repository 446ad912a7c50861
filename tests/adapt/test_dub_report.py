import io
from dataclasses import replace
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from adapt.dubbing.part import Part
from adapt.dubbing.quality import quality_facts
from adapt.dubbing.redraw import Redrawn
from adapt.dubbing.report import Recorder, _dubbed, write_report
from adapt.dubbing.weights import frame_status, hand_over
from adapt.reports.clip import encode_sound
from render.compositing.composite import Patch
from render.video.encoding import DeliveredSound
from render.video.reader import Footage
from render.video.writer import VideoWriter
from tests.media import Sound, make_sound, tone


def test_a_late_range_is_what_report_and_sheet_show(talking_clip, monkeypatch):
    path, track = talking_clip
    part = SimpleNamespace(track=track, driven=torch.zeros(len(track), dtype=torch.bool))
    part.driven[30:] = True
    monkeypatch.setattr("adapt.dubbing.report.MOST_SHOWN", 20)
    monkeypatch.setattr("adapt.dubbing.report.LEAD_SECONDS", 0.2)
    recorder = Recorder([part])
    patched = Patch(np.ones((8, 8, 3), np.float32), np.ones((8, 8), np.float32), track.crop_from_image[0].numpy())
    for frame in Footage(path).frames():
        recorder(frame, [patched if frame.index >= 30 else None])
    assert recorder.frames == list(range(25, 40))
    assert all(index >= 30 for _, index, _, _ in recorder.worst())


def test_there_is_a_section_with_sound_for_every_person_and_the_whole_frame(talking_clip, ada, tmp_path):
    path, track = talking_clip
    voice = make_sound(tmp_path / "voice.wav", Sound("pcm_s16le", layout="mono", seconds=1.6))
    every = torch.ones(len(track), dtype=torch.bool)
    parts = [Part(replace(ada, name=name), track, track.lower_expression, every) for name in ("Ada", "Bea")]
    footage, video = Footage(path), tmp_path / "out.mp4"
    recorder = Recorder(parts)
    with VideoWriter(footage, video, sound=DeliveredSound([voice])) as writer:
        for frame in footage.frames():
            affine = track.crop_from_image[0].numpy()
            bright = Patch(np.ones((8, 8, 3), np.float32), np.ones((8, 8), np.float32), affine)
            recorder(frame, [bright if frame.index == 20 else None, None])
            writer.write(frame)
    handovers = [hand_over(part) for part in parts]
    result = Redrawn(handovers, frame_status(handovers), [], [], [0.1])
    quality = quality_facts(footage, parts, result, [])
    write_report(tmp_path, footage, parts, result, recorder, quality, video)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The whole frame" in page and "Person 1: Ada" in page and "Person 1: Bea" in page
    assert page.count("<audio") == 3 and page.count("<video") == 6 and page.count("how open the drawn mouth is") == 4
    assert [index for _, index, _, _ in recorder.worst(0)] == [20] and not recorder.worst(1)


def test_a_patch_lies_over_the_whole_frame_where_it_lies_over_the_picture():
    affine = np.array([[1.0, 0, -20], [0, 1, -10]])
    patch = Patch(np.ones((10, 10, 3), np.float32), np.ones((10, 10), np.float32), affine)
    whole = _dubbed(np.zeros((40, 60, 3), np.uint8), [patch], np.array([[1.0, 0, 0], [0, 1, 0]]))
    ys, xs = np.nonzero(whole[..., 0] > 250)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (10, 19, 20, 29)
    half = _dubbed(np.zeros((20, 30, 3), np.uint8), [patch], np.array([[0.5, 0, 0], [0, 0.5, 0]]))
    ys, xs = np.nonzero(half[..., 0] > 250)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (5, 9, 10, 14)


def test_sound_in_a_page_is_as_long_as_it_was():
    data = encode_sound(tone(440.0, 0.5), 16_000)
    with av.open(io.BytesIO(data)) as container:
        count = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert count == pytest.approx(0.5, abs=0.03)
