import errno
import json
import shutil
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adapt.actor.bundle import TENSORS
from adapt.cli import main
from adapt.metrics.mouth_meter import MouthMeter
from adapt.tracking.crop import read_crops
from prior.speech.sound import SAMPLE_RATE, read_waveform
from render.drawing.crop import CROP_SIZE
from render.store import file_sha256
from render.video.reader import Footage
from tests.media import Sound, make_sound


def command(*words):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return stopped.value.code


def one_line(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if "adapt:" in line]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture(scope="module")
def inputs(talking_clip, ada, tmp_path_factory):
    """Names used in the commands below → files."""
    folder = tmp_path_factory.mktemp("inputs")
    ada.save(folder / "ada.actor")
    shutil.copytree(folder / "ada.actor", folder / "corrupt.actor")
    stored = folder / "corrupt.actor" / TENSORS
    stored.write_bytes(stored.read_bytes()[:-100])
    other = replace(ada, appearance={name: value.flip(0) for name, value in ada.appearance.items()})
    other.save(folder / "other.actor")
    make_sound(folder / "voice.wav", Sound("pcm_s16le", layout="mono", seconds=1.6))
    make_sound(folder / "short.wav", Sound("pcm_s16le", layout="mono", seconds=0.7))
    with wave.open(str(folder / "silent.wav"), "wb") as silent:
        silent.setparams((1, 2, 16000, 0, "NONE", ""))
        silent.writeframes(bytes(2 * 16000))
    (folder / "file").write_text("not a folder")
    names = ("ada.actor", "corrupt.actor", "other.actor", "voice.wav", "short.wav", "silent.wav", "file", "gone.wav")
    return {name: str(folder / name) for name in names} | {"CLIP": str(talking_clip[0])}


#: How messages begin that are about settings alone; the exit status tells them from faults of the input.
OF_SETTINGS = (
    "AUDIO",
    "--d",
    "say what",
    "0.6 to",
    "choose one",
    "leave out",
    "give ",
    "say with",
    "--face",
    "nothing to mix",
)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--actor", "ada.actor"], "say what moves the mouth by one of AUDIO, --drive or --face"),
        (["--actor", "nobody.actor", "--drive", "source"], "no such folder"),
        (["--actor", "corrupt.actor", "--drive", "source"], "damaged"),
        (["--actor", "ada.actor", "--drive", "source", "--person", "7"], "no person 7"),
        (["--actor", "other.actor", "--drive", "source"], "does not look like person 1"),
        (["--actor", "ada.actor", "--drive", "source", "--mouth", "9"], "0.6 to 1.4"),
        (["--actor", "ada.actor", "--drive", "source", "--range", "8-9"], "no frame begins in it"),
        (["--actor", "ada.actor", "--drive", "source", "--region", "nose"], "choose one of lips, mouth, lower-face"),
        (["--actor", "ada.actor", "--drive", "source", "--codec", "vp9"], "choose one of h264"),
        (["--actor", "ada.actor", "--drive", "source", "--device", "cuda:99"], "leave out --device"),
        (["--actor", "ada.actor", "--drive", "source", "--out", "file/out"], "choose another folder"),
        (["--actor", "ada.actor", "--drive", "gone.mp4"], "no such file"),
        (["--actor", "ada.actor", "silent"], "AUDIO silent: no such file; did you mean silence?"),
        (
            ["--actor", "ada.actor", "voice.wav", "--deliver", "sorce"],
            "--deliver sorce: no such file; did you mean source?",
        ),
        (["--actor", "ada.actor", "--drive", "sauce"], "--drive sauce: no such file; did you mean source?"),
        (["--face", "ada.actor=silense"], "--face silense: no such file; did you mean silence?"),
        (
            ["--actor", "ada.actor", "--drive", "source", "--region", "lip"],
            "choose one of lips, mouth, lower-face; did you mean lips?",
        ),
        (["--face", "ada.actor"], "give ACTOR=AUDIO"),
        (["--face", "ada.actor=gone.wav"], "no such file"),
        (["--face", "ada.actor=silent.wav"], "or write silence in its place"),
        (["--face", "ada.actor=short.wav"], "--on-mismatch trim, pad or hold"),
        (["--face", "ada.actor=voice.wav", "--face", "2=voice.wav"], "say with --deliver"),
        (["--face", "ada.actor=voice.wav", "--person", "1"], "--face ACTOR@PERSON=AUDIO"),
        (["--actor", "ada.actor", "--drive", "source", "--deliver", "mix"], "nothing to mix"),
        (["--actor", "ada.actor", "--drive", "source", "--deliver", "gone.wav"], "gone.wav: no such file"),
        (
            ["--actor", "ada.actor", "--drive", "source", "--deliver", "CLIP"],
            "there is no sound in it; give a file with sound",
        ),
    ],
)
def test_wrong_input_is_one_line(inputs, tmp_path, capsys, words, message):
    for name, path in inputs.items():
        words = [word.replace(name, path) for word in words]
    out = [] if "--out" in words else ["-o", tmp_path / "out"]
    code = 2 if message.startswith(OF_SETTINGS) else 1
    assert command("dub", inputs["CLIP"], *words, *out) == code
    assert message in one_line(capsys)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_in_the_middle_is_one_line(inputs, tmp_path, capsys):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        code = command("dub", inputs["CLIP"], "--actor", inputs["ada.actor"], "--drive", "source", "-o", tmp_path / "o")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1 and "make room, or choose another folder" in one_line(capsys)
    assert not list(tmp_path.iterdir())


def test_a_finished_video_is_kept_where_the_report_cannot_be_written(inputs, tmp_path, monkeypatch, capsys):
    def full(*_):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "notes").touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("adapt.dubbing.dub.write_report", full)
    words = ["--actor", inputs["ada.actor"], "--drive", "source", "--draft", "-o", tmp_path / "out"]
    assert command("dub", inputs["CLIP"], *words) == 0
    told = capsys.readouterr().out
    assert "No space left" in told and f"the dub is in {tmp_path / 'out.1'}" in told
    video = next((tmp_path / "out.1").glob("*.dubbed.mp4"))
    run = json.loads((tmp_path / "out.1" / "run.json").read_text(encoding="utf-8"))
    assert run["output"] == {"file": video.name, "sha256": file_sha256(video)}
    (actor,) = run["actors"]
    assert actor["actor_sha256"] == file_sha256(Path(inputs["ada.actor"]) / "actor.json")
    assert run["settings"]["actor"] == "ada.actor" and run["settings"]["video"] == Path(inputs["CLIP"]).name
    for written in (tmp_path / "out.1").glob("*.json"):
        assert str(tmp_path) not in written.read_text(encoding="utf-8"), "nobody's folders are handed on"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.1"]


def test_a_sound_without_a_bundle_fits_once_and_mixes(inputs, tmp_path, capsys):
    words = ["dub", inputs["CLIP"], "--face", f"1={inputs['voice.wav']}", "--draft", "--fit-steps", "0"]
    words += ["--deliver", "mix", "--fit-cache", tmp_path / "fits", "--region", "lips", "--seed", "3"]
    for name in ("first", "second"):
        assert command(*words, "-o", tmp_path / name) == 0
    told = capsys.readouterr().out
    assert told.count("fitting from the shot itself") == 1 and told.count("fitted before") == 1
    run = json.loads((tmp_path / "second" / "run.json").read_text())
    assert run["settings"]["seed"] == 3 and run["settings"]["region"] == "lips" and run["settings"]["device"] == "cpu"
    (driver,) = run["drivers"]
    assert (driver["kind"], driver["file"], len(driver["sha256"])) == ("sound", "voice.wav", 64)
    assert len(run["motion_model_sha256"]) == 64
    assert not (tmp_path / "second" / "mix.wav").exists()
    first, second = (next((tmp_path / name).glob("*.dubbed.mp4")).read_bytes() for name in ("first", "second"))
    assert first == second


def test_silence_on_purpose_closes_the_mouth_and_keeps_the_sources_sound(talking_clip, inputs, tmp_path):
    words = ["--face", f"{inputs['ada.actor']}=silence", "--range", "0.4-1.1", "--occluders", "ignore"]
    assert command("dub", inputs["CLIP"], *words, "-o", tmp_path / "out") == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["drivers"] == [{"kind": "silence"}] and run["delivered_sounds"] == []
    dubbed = Footage(next((tmp_path / "out").glob("*.dubbed.mp4")))
    track, meter = talking_clip[1].with_crop_size(CROP_SIZE), MouthMeter()
    seen = {}
    for name, footage in (("source", Footage(inputs["CLIP"])), ("dubbed", dubbed)):
        crops = read_crops(footage, track, list(range(16, 22))).float() / 255
        seen[name] = meter.openings(crops)
    assert seen["dubbed"].max() < 0.05 and seen["dubbed"].std() < 0.2 * seen["source"].std()


def test_trimmed_sound_ends_with_the_picture(inputs, tmp_path):
    long = make_sound(tmp_path / "long.wav", Sound("pcm_s16le", layout="mono", seconds=4.0))
    words = ["--face", f"{inputs['ada.actor']}={long}", "--on-mismatch", "trim", "--occluders", "ignore"]
    assert command("dub", inputs["CLIP"], *words, "--range", "0.4-1.1", "-o", tmp_path / "out") == 0
    dubbed = Footage(next((tmp_path / "out").glob("*.dubbed.mp4")))
    (sound,) = dubbed.audio
    assert sound.start + sound.duration == pytest.approx(1.6, abs=0.05), "no hole, in a shot without sound as well"
    samples = read_waveform(dubbed.path)
    heard = np.flatnonzero(np.abs(samples) > 0.01) / SAMPLE_RATE
    assert heard[0] == pytest.approx(0.4, abs=0.03) and heard[-1] == pytest.approx(1.1, abs=0.03)
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".mp4", ".html", ".jpg", ".json"}
    words = ["--face", f"{inputs['ada.actor']}={long}", "--on-mismatch", "trim", "--occluders", "ignore"]
    assert command("dub", inputs["CLIP"], *words, "-o", tmp_path / "whole") == 0
    (sound,) = Footage(next((tmp_path / "whole").glob("*.dubbed.mp4"))).audio
    assert sound.start + sound.duration == pytest.approx(1.6, abs=0.12), "to the packet"
