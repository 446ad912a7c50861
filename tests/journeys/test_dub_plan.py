"""What a dub would do is told before anything is done."""

import json
import time
from pathlib import Path

import pytest

from adapt.cli import main
from adapt.dubbing.plan import DRAWN, Speed
from tests.media import Sound, make_sound


def command(*words):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return stopped.value.code


def test_a_plan_tells_people_frames_sound_and_minutes_and_leaves_nothing(talking_clip, ada, tmp_path, capsys):
    ada.save(tmp_path / "ada.actor")
    voice = make_sound(tmp_path / "voice.wav", Sound("pcm_s16le", layout="mono", seconds=1.6))
    before = sorted(Path(tmp_path).iterdir())
    words = ["dub", talking_clip[0], voice, "--plan", "--json"]
    assert command(*words, "--actor", tmp_path / "ada.actor") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["plan"]
    assert told["frames"] == told["drawn"] == 40 and told["fitting"] == 0 < told["minutes"] < 30
    assert 0.2 < told["memory_gb"] < 8 and 0 < told["disk_gb"] < 0.02
    (person,) = told["people"]
    assert (
        person.startswith("person 1: Ada; 40 frames")
        and told["sound"] == "what drives, in place of the source's own (none)"
    )
    assert command(*words, "--fit-steps", "200", "--range", "0.4-1.2", "--on-mismatch", "trim") == 0
    fitted = json.loads(capsys.readouterr().out.splitlines()[-1])["plan"]
    assert fitted["drawn"] < 24 and fitted["fitting"] > 0 and fitted["minutes"] > fitted["fitting"]
    assert "fitted from the shot in 200 steps" in fitted["people"][0] and fitted["sound"].startswith("the new line in")
    assert sorted(Path(tmp_path).iterdir()) == before


def test_minutes_are_of_all_that_is_done_with_a_frame(talking_clip, ada, tmp_path, capsys, monkeypatch):
    ada.save(tmp_path / "ada.actor")
    voice = make_sound(tmp_path / "voice.wav", Sound("pcm_s16le", layout="mono", seconds=0.8))
    words = ["dub", talking_clip[0], voice, "--range", "0.4-1.2", "--actor", tmp_path / "ada.actor", "--plan", "--json"]
    told = []

    def kept(*arguments):
        told.append(Speed(*arguments))
        return Speed(0.3, 0.6, 1.2, 0.0)

    monkeypatch.setattr("adapt.dubbing.plan.Speed", kept)
    monkeypatch.setattr("adapt.dubbing.plan._show", lambda parts, frames: time.sleep(0.05 * len(frames)))
    assert command(*words, "--codec", "h264") == 0
    planned = json.loads(capsys.readouterr().out.splitlines()[-1])["plan"]
    assert planned["minutes"] == pytest.approx((0.9 * planned["drawn"] + 1.2 * 40) / 60)
    assert command(*words) == 0
    fewer = json.loads(capsys.readouterr().out.splitlines()[-1])["plan"]
    copied = (planned["minutes"] - fewer["minutes"]) * 60 / 1.2
    assert copied == pytest.approx(round(copied)) and 5 <= copied <= 11, "what lies before the range is copied"
    speed = told[0]
    assert 0.05 * 0.9 < speed.showing < 0.05 * DRAWN and speed.drawing > 0 and speed.writing > 0
