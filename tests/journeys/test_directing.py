"""Directing a mouth through the command: cues by range, what tells of them, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

import adapt
from adapt.cli import main
from adapt.motion.keys import read_keys
from render.drawing.renderer import WINDOW_SECONDS
from render.store import file_sha256
from render.video.reader import Footage

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.flac"


def command(*words):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return stopped.value.code


def frames_of(folder):
    return [frame.rgb for frame in Footage(next(folder.glob("*.dubbed.*"))).frames()]


def test_a_cue_changes_its_range_alone_and_is_told(talking_clip, ada, tmp_path):
    ada.save(tmp_path / "ada.actor")
    shot = ["dub", talking_clip[0], "--drive", "source", "--actor", tmp_path / "ada.actor", "--range", "0.3-1.0"]
    shot += ["--occluders", "ignore", "--codec", "ffv1"]
    cues = tmp_path / "cues.csv"
    cues.write_text("start,end,intensity,region\n0.5,0.8,2,\n0.5,0.7,,lips\n", encoding="utf-8")
    assert command(*shot, "-o", tmp_path / "plain") == 0
    assert command(*shot, "--cues", cues, "-o", tmp_path / "cued") == 0
    plain, cued = frames_of(tmp_path / "plain"), frames_of(tmp_path / "cued")
    changed = [number for number, pair in enumerate(zip(plain, cued, strict=True)) if not np.array_equal(*pair)]
    times = np.array(changed) / 25
    around = max(WINDOW_SECONDS) + 1e-6  # of motion, by which a mouth is drawn
    assert len(changed) > 4 and 0.5 - around < times.min() and times.max() < 0.8 + around
    run = json.loads((tmp_path / "cued" / "run.json").read_text(encoding="utf-8"))
    assert run["actors"][0]["cues"] == [
        ["0:00:00.500", "0:00:00.800", "intensity 2"],
        ["0:00:00.500", "0:00:00.700", "region lips"],
    ]
    assert run["settings"]["cues"] == "cues.csv" and run["cues_sha256"] == file_sha256(cues)
    page = (tmp_path / "cued" / "report.html").read_text(encoding="utf-8")
    assert "asked for" in page and "intensity 2" in page
    plain_run = json.loads((tmp_path / "plain" / "run.json").read_text(encoding="utf-8"))
    assert plain_run["actors"][0]["cues"] == [] and "cues_sha256" not in plain_run


@pytest.mark.parametrize(
    ("words", "table", "code", "message"),
    [
        (["--intensity", "3"], "", 2, "--intensity 3: give a factor from 0 to 2"),
        (["--emotion", "happpy"], "", 2, "--emotion happpy: did you mean happy?"),
        (["--weights", "lips"], "", 2, "--weights lips: give factors of lips and jaw, such as lips=1.5,jaw=0.8"),
        (["--cues", "gone.csv"], "", 1, "gone.csv: no such file"),
        (["--cues", "cues.csv"], "start,mouth\n0,9\n", 2, "row 2: mouth 9: give a factor from 0.6 to 1.4"),
        (["--keys", "cues.csv"], "time,opening\n1,wide\n", 2, "row 2: opening wide: give centimetres"),
        (["--cues", "cues.csv"], "keys\ngone.csv\n", 1, "gone.csv: no such file"),
        (["--cues", "cues.csv"], "person,mouth\n3,1\n", 2, "names person 3, but dubbed is 1"),
    ],
)
def test_what_cannot_be_directed_is_one_line(talking_clip, tmp_path, capsys, monkeypatch, words, table, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cues.csv").write_text(table, encoding="utf-8")
    assert command("dub", talking_clip[0], "--drive", "source", *words, "-o", tmp_path / "out") == code
    lines = [line for line in capsys.readouterr().err.splitlines() if "adapt:" in line]
    assert len(lines) == 1 and message in lines[0]
    assert not (tmp_path / "out").exists()


def test_keys_are_written_as_a_table_and_told_the_same_from_python(talking_clip, tmp_path):
    words = [talking_clip[0], SENTENCE, "--on-mismatch", "trim"]
    assert command("keys", *words, "-o", tmp_path / "keys.csv") == 0
    keys = read_keys(tmp_path / "keys.csv").keys
    assert len(keys) > 8 and all(0 <= key.seconds < 1.6 and key.wanted == key.predicted for key in keys)
    assert command("keys", *words, "-o", tmp_path / "keys.csv") == 1, "nothing is replaced unasked"
    request = adapt.Request(adapt.Sound(SENTENCE))
    assert adapt.keys(talking_clip[0], request, adapt.DubOptions(on_mismatch="trim")) == list(keys)
