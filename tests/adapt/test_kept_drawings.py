"""A dub that was interrupted goes on where it was, to the same bytes, and what was kept for that is removed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import adapt
from adapt.cache import Found
from adapt.dubbing.kept import FRAMES_A_FILE, DrawnFrame, KeptDrawings, drawing_key
from adapt.dubbing.painter import Painter
from adapt.dubbing.part import Part
from adapt.dubbing.weights import hand_over
from render.video.reader import Footage
from tests.media import Sound, make_sound


class Stopping(adapt.Silent):
    """Stops drawing after some frames; keeps what is told."""

    def __init__(self, frames):
        super().__init__()
        self.left, self.name, self.told = frames, "", []

    def stage(self, name, total=None):
        self.name = name
        return super().stage(name, total)

    def heed(self):
        self.left -= self.name == "dub"
        if not self.left:
            self.cancel()
        super().heed()

    def note(self, text):
        self.told.append(text)


@pytest.fixture
def painted(monkeypatch):
    numbers = []
    paint = Painter.paint
    monkeypatch.setattr(
        Painter, "paint", lambda self, frames: numbers.extend(f.index for f in frames) or paint(self, frames)
    )
    return numbers


def drawn(value):
    before = [np.zeros((6, 8), np.uint8), np.zeros((3, 4), np.uint8)]
    after = [plane.copy() for plane in before]
    after[0][2:4, 3:5] = value
    return before, after, DrawnFrame.of(before, after, [True, False])


def test_an_interrupted_dub_goes_on_to_the_same_bytes(talking_clip, ada, tmp_path, monkeypatch, painted):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ada.save(tmp_path / "ada.actor")
    voice = make_sound(tmp_path / "voice.wav", Sound("pcm_s16le", layout="mono", seconds=1.6))

    def dub(out, progress, **options):
        requests = [adapt.Request(adapt.Sound(voice), tmp_path / "ada.actor")]
        return adapt.dub(talking_clip[0], requests, tmp_path / out, adapt.DubOptions(**options), progress=progress)

    whole = dub("whole", adapt.Silent())
    before = sorted(Found.of_user().folder.iterdir())
    first = Stopping(21)
    with pytest.raises(adapt.Cancelled):
        dub("again", first)
    assert first.told[-1].startswith("not finished; what was drawn up to frame 20 is kept")
    assert not (tmp_path / "again").exists() and len(list(Found.of_user().folder.iterdir())) == len(before) + 1
    painted.clear()
    second = Stopping(0)
    again = dub("again", second, resume=True)
    assert f"{talking_clip[0].name}: drawn before, so it goes on at frame 21 of 40" in second.told
    assert painted == list(range(21, 40)), "what was drawn is not drawn again"
    for name in (whole.video.name, "qc.json", "sheet.jpg"):
        assert (again.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    assert again.redrawn.changed == whole.redrawn.changed and again.redrawn.status == whole.redrawn.status
    assert sorted(Found.of_user().folder.iterdir()) == before, "the drawings are removed"
    written, last = Stopping(0), Stopping(40)
    with pytest.raises(adapt.Cancelled):
        dub("last", last)
    dub("last", written)
    assert f"{talking_clip[0].name}: all of it was drawn before, and is only written" in written.told
    third = Stopping(0)
    dub("third", third, resume=True, mouth=1.2, quality="draft")
    assert f"{talking_clip[0].name}: there is no drawing to go on from; it begins anew" in third.told


def test_a_drawn_frame_is_what_changed_of_it():
    before, after, frame = drawn(7)
    assert [window.samples.shape for window in frame.windows] == [(2, 2), (0, 0)]
    assert frame.shown == (True, False) and frame.changed == 4 / 60
    for plane, wanted in zip(frame.planes(before), after, strict=True):
        assert np.array_equal(plane, wanted)
    assert not before[0].any()


def test_drawings_are_found_by_frame_and_damage_counts_as_nothing(tmp_path):
    found, wanted = Found(tmp_path / "adapt" / "found"), range(10, 2 * FRAMES_A_FILE)
    kept = KeptDrawings(found, "key", wanted)
    assert kept.first == 10 and kept.get(10) is None
    told = []
    with pytest.raises(OSError), kept.saved_when_interrupted(told.append):
        for frame in wanted[:-5]:
            kept.add(frame, drawn(frame % 200 + 1)[2])
        raise OSError
    again = KeptDrawings(found, "key", wanted)
    assert again.first == wanted[-5] and len(told) == 1 and f"frame {wanted[-6]}" in told[0]
    assert int(again.get(20).windows[0].samples[0, 0]) == 21 and again.get(wanted[-1]) is None
    assert KeptDrawings(found, "other", wanted).first == 10
    for path in found.files():
        path.write_bytes(b"damaged")
    assert KeptDrawings(found, "key", wanted).get(wanted[0]) is None
    again.forget()
    assert not found.files()


def test_nothing_is_kept_where_nothing_is_to_be():
    kept = KeptDrawings(Found(None), "", [0, 1])
    with pytest.raises(KeyboardInterrupt), kept.saved_when_interrupted(pytest.fail):
        kept.add(0, drawn(1)[2])
        raise KeyboardInterrupt
    kept.forget()
    assert kept.get(0) is None and kept.first == 0


def test_other_drawings_have_another_key(talking_clip, ada):
    path, track = talking_clip
    part = Part(ada, track, track.lower_expression, torch.ones(len(track), dtype=torch.bool))
    footage, options = Footage(path), adapt.DubOptions()

    def key(part, options):
        return drawing_key(footage, [part], [hand_over(part)], [None], options)

    same = key(part, options)
    assert key(replace(part), replace(options, codec="ffv1", quality="draft")) == same, "encoding decides no sample"
    assert key(replace(part, expression=part.expression * 1.1), options) != same
    assert key(part, replace(options, region="mouth")) != same and key(part, replace(options, grain=True)) != same
