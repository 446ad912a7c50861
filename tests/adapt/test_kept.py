"""What was found in a video is found again by its content, to the bit."""

import json
import os
import shutil
from dataclasses import fields

import numpy as np
import pytest
import torch

from adapt.cache import Found
from adapt.cast.kept import kept_analysis
from adapt.cli import main
from adapt.tracking.kept import track_footage
from render.compositing.occlusion import LOOK_PX, Occlusion
from render.video.reader import Footage


class Notes:
    def __init__(self):
        self.told = []

    def note(self, text):
        self.told.append(text)

    def over(self, name, items, total=None):
        self.told.append(name)
        return iter(items)


def command(*words):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return stopped.value.code


def same(first, second):
    for field in fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else field.name == "source" or a == b, field.name


def test_a_track_is_reused_by_content_to_the_bit(talking_clip, tmp_path):
    found, notes = Found(tmp_path / "found"), Notes()
    plain = track_footage(Footage(talking_clip[0]), None, "")
    first = track_footage(Footage(talking_clip[0]), None, "", notes, found)
    assert notes.told == ["faces"]
    other = tmp_path / "other name.mp4"
    shutil.copy(talking_clip[0], other)
    again = track_footage(Footage(other), None, "", notes, found)
    assert notes.told[1:] == ["other name.mp4: what was found in it before is used again (`adapt cache`)"]
    same(plain, first)
    same(first, again)
    assert again.source["file"] == "other name.mp4"
    member, kept = (kept_analysis(Footage(other), where).member(1) for where in (Found(None), found))
    for name in ("frames", "boxes", "yaw", "is_whole"):
        assert np.array_equal(member.values(name), kept.values(name))


def test_a_stretch_is_looked_at_alone(talking_clip, tmp_path):
    notes = Notes()
    analysis = kept_analysis(Footage(talking_clip[0]), Found(tmp_path / "found"), notes, (10, 30))
    frames = analysis.member(1).values("frames")
    assert frames.min() == 10 and frames.max() == 29 and analysis.shots[0].start == 0 and analysis.shots[-1].stop == 40
    again = kept_analysis(Footage(talking_clip[0]), Found(tmp_path / "found"), notes, (10, 30))
    assert np.array_equal(again.landmarks(1)[0], analysis.landmarks(1)[0], equal_nan=True) and len(notes.told) == 2


def test_what_was_used_longest_ago_makes_room_and_damage_counts_as_nothing(tmp_path):
    found = Found(tmp_path / "adapt" / "found", largest_bytes=10_000)
    for number, key in enumerate("abc"):
        found.write(key, {"x": torch.full((1000,), float(number))}, {"n": number})
        os.utime(found.files()[-1], (number, number))
    assert [path.stem for path in found.files()] == ["b", "c"] and found.read("a") is None
    tensors, facts = found.read("b")
    assert facts == {"n": 1} and float(tensors["x"][0]) == 1
    found.write("d", {"x": torch.zeros(1000)}, {})
    assert {path.stem for path in found.files()} == {"b", "d"}, "b was used after c"
    found.files()[0].write_bytes(b"damaged")
    assert found.read(found.files()[0].stem) is None or found.read("d") is not None
    assert (tmp_path / "adapt").stat().st_mode & 0o777 == 0o700
    assert found.clear() > 0 and not found.files()
    assert Found(tmp_path / "file" / "x").write("a", {}, {}) is None


def test_occlusions_are_stored_as_they_are():
    hidden = torch.tensor([False, True, False])
    for masks in (
        {},
        {1: np.random.default_rng(0).integers(0, 255, LOOK_PX * LOOK_PX // 8).astype(np.uint8).tobytes()},
    ):
        again = Occlusion.of(*Occlusion(hidden, masks).stored())
        assert torch.equal(again.hidden, hidden) and again.masks == masks


def test_the_command_shows_and_clears(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Found.of_user().write("a", {"x": torch.zeros(1000)}, {})
    (tmp_path / "adapt" / "fits" / "1.actor").mkdir(parents=True)
    assert command("cache", "--json") == 0
    assert json.loads(capsys.readouterr().out)["kept"]["found"] > 4000
    assert command("cache", "--clear") == 0
    assert "removed" in capsys.readouterr().out
    assert not list((tmp_path / "adapt" / "found").iterdir()) and not list((tmp_path / "adapt" / "fits").iterdir())
