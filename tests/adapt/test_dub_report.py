import io
from dataclasses import replace
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch

from adapt.dubbing.kept import DrawnFrame
from adapt.dubbing.part import Part
from adapt.dubbing.quality import GUESSED, quality_facts, told
from adapt.dubbing.redraw import Redrawn
from adapt.dubbing.report import PLAYER_PX, Recorder, write_report
from adapt.dubbing.weights import frame_status, hand_over
from adapt.reports.clip import encode_sound
from render.video.encoding import DeliveredSound
from render.video.reader import Footage
from render.video.writer import VideoWriter
from tests.media import Sound, make_sound, tone


def brightened(frame, track, row):
    """The frame with white luma in a square around the middle of the face, for the first of two parts."""
    matrix = np.vstack([track.crop_from_image[row].numpy(), [0, 0, 1]])
    x, y = (np.linalg.inv(matrix) @ [track.crop_size / 2, track.crop_size / 2, 1])[:2].round().astype(int)
    planes = frame.planes
    planes[0][y - 10 : y + 10, x - 10 : x + 10] = 235
    return DrawnFrame.of(frame.planes, planes, [True, False])


def test_a_late_range_is_what_report_and_sheet_show(talking_clip, monkeypatch):
    path, track = talking_clip
    part = SimpleNamespace(track=track, driven=torch.zeros(len(track), dtype=torch.bool))
    part.driven[30:] = True
    monkeypatch.setattr("adapt.dubbing.part.MOST_SHOWN", 20)
    monkeypatch.setattr("adapt.dubbing.part.LEAD_SECONDS", 0.2)
    recorder = Recorder([part])
    for frame in Footage(path).frames():
        recorder(frame, [None], brightened(frame, track, 0) if frame.index >= 30 else None)
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
            recorder(frame, [None, None], brightened(frame, track, 0) if frame.index == 20 else None)
            writer.write(frame)
    handovers = [hand_over(part) for part in parts]
    result = Redrawn(handovers, frame_status(handovers), [], [], [0.1])
    quality = quality_facts(footage, parts, result, [])
    write_report(tmp_path, footage, parts, result, recorder, quality, video)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The whole frame" in page and "Person 1: Ada" in page and "Person 1: Bea" in page
    assert page.count("<audio") == 3 and page.count("<video") == 6 and page.count("how open the drawn mouth is") == 4
    assert [index for _, index, _, _ in recorder.worst(0)] == [20] and not recorder.worst(1)


def test_a_mouth_wider_than_the_actors_frames_is_told_and_shown(talking_clip, ada, tmp_path):
    path, track = talking_clip
    wide = track.lower_expression.clone()
    wide[10:20, 0] += 8.0
    part = Part(ada, track, wide, torch.ones(len(track), dtype=torch.bool))
    footage, handover, recorder = Footage(path), hand_over(part), Recorder([part])
    for frame in footage.frames():
        recorder(frame, [None], brightened(frame, track, 0) if frame.index == 20 else None)
    result = Redrawn([handover], frame_status([handover]), [], [], [0.1])
    quality = quality_facts(footage, [part], result, [])
    (person,) = quality["people"]
    seen = person["interior_seen"]
    assert len(seen) == len(track) and all(share < GUESSED for share in seen[10:20])
    assert max(share for share in seen if share is not None) > 0.5, "it was fitted from these frames"
    entry = max(person["guessed"], key=lambda entry: entry["seconds"])
    assert entry["frames"] == [10, 19] and entry["seconds"] == pytest.approx(0.4) and entry["seen"] == min(seen[10:20])
    assert entry["opening"] > entry["opening_shown"] + 0.1
    (line,) = told(quality)
    assert line.startswith(f"{entry['from']} to {entry['to']}: mouth opened wider than the actor's frames show")
    assert f"({entry['opening']:.2f} of the eye distance, they {entry['opening_shown']:.2f})" in line
    write_report(tmp_path, footage, [part], result, recorder, quality, path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "yellow is seen, dark blue never" in page and "guessed between the lips" in page
    person["guessed"][:] = [{**entry, "seconds": 0.04}]
    assert told(quality) == [], "a frame is not worth a line"


def test_what_was_written_is_shown_in_the_face_and_in_the_whole_frame(talking_clip):
    path, track = talking_clip
    part = SimpleNamespace(track=track, driven=torch.ones(len(track), dtype=torch.bool))
    recorder = Recorder([part, part])
    for frame in Footage(path).frames(0, 2):
        recorder(frame, [None, None], brightened(frame, track, frame.index) if frame.index else None)
    ((difference, index, real, new),) = recorder.worst(0)
    assert index == 1 and difference > 0 and not recorder.worst(1)
    ys, xs = np.nonzero(cv2.absdiff(real, new).max(2) > 40)
    middle = (PLAYER_PX - 1) / 2
    assert abs(ys.mean() - middle) < 3 and abs(xs.mean() - middle) < 3 and new[ys, xs].mean() > real[ys, xs].mean() + 40
    assert [len(clips) for clips in (recorder.frames, recorder.times)] == [2, 2]


def test_sound_in_a_page_is_as_long_as_it_was():
    data = encode_sound(tone(440.0, 0.5), 16_000)
    with av.open(io.BytesIO(data)) as container:
        count = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert count == pytest.approx(0.5, abs=0.03)
