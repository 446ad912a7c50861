import json
import shutil
import wave
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from adapt.actor.bundle import TENSORS, ActorBundle
from adapt.cast.resemblance import log_odds
from adapt.cli import main
from adapt.commands.dub import options_of, requests_of
from adapt.commands.flags import DubConfig
from adapt.config import command_line
from adapt.dubbing.options import DRAFT_FIT_STEPS
from adapt.dubbing.report import Recorder
from adapt.dubbing.request import Request
from adapt.dubbing.sound import delivered, mix_sounds, refuse_undeliverable
from adapt.metrics.mouth_meter import MouthMeter
from adapt.motion.sources import OwnMotion, Silence, Sound, TrackFile, Video
from adapt.tracking.crop import read_crops
from prior.speech.sound import read_waveform
from render.compositing.composite import Patch
from render.drawing.crop import CROP_SIZE
from render.head.track import Track
from render.video.encoding import DeliveredSound
from render.video.reader import Footage
from tests.media import Sound as MadeSound
from tests.media import make_clip, make_sound


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
    make_sound(folder / "voice.wav", MadeSound("pcm_s16le", layout="mono", seconds=1.6))
    make_sound(folder / "short.wav", MadeSound("pcm_s16le", layout="mono", seconds=0.7))
    with wave.open(str(folder / "silent.wav"), "wb") as silent:
        silent.setparams((1, 2, 16000, 0, "NONE", ""))
        silent.writeframes(bytes(2 * 16000))
    (folder / "file").write_text("not a folder")
    names = ("ada.actor", "corrupt.actor", "other.actor", "voice.wav", "short.wav", "silent.wav", "file", "gone.wav")
    talking_clip[1].save(folder / "track.safetensors")
    files = {"CLIP": str(talking_clip[0]), "TRACK": str(folder / "track.safetensors")}
    return {name: str(folder / name) for name in names} | files


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--actor", "ada.actor"], "say what moves the mouth by one of AUDIO, --drive or --face"),
        (["--actor", "nobody.actor", "--drive", "source"], "not an actor bundle"),
        (["--actor", "corrupt.actor", "--drive", "source"], "damaged"),
        (["--actor", "ada.actor", "--drive", "source", "--person", "7"], "no person 7"),
        (["--actor", "other.actor", "--drive", "source"], "does not look like person 1"),
        (["--actor", "ada.actor", "--drive", "source", "--mouth", "9"], "0.6 to 1.4"),
        (["--actor", "ada.actor", "--drive", "source", "--range", "8-9"], "no frame lies in it"),
        (["--actor", "ada.actor", "--drive", "source", "--region", "nose"], "choose one of lips, mouth, lower-face"),
        (["--actor", "ada.actor", "--drive", "source", "--codec", "vp9"], "choose one of h264"),
        (["--actor", "ada.actor", "--drive", "source", "--device", "cuda:99"], "leave out --device"),
        (["--actor", "ada.actor", "--drive", "source", "--out", "file/out"], "choose another folder"),
        (["--actor", "ada.actor", "--drive", "gone.mp4"], "no such file"),
        (["--face", "ada.actor"], "give ACTOR=AUDIO"),
        (["--face", "ada.actor=gone.wav"], "no such file"),
        (["--face", "ada.actor=silent.wav"], "or write silence in its place"),
        (["--face", "ada.actor=short.wav"], "--on-mismatch trim, pad or hold"),
        (["--face", "ada.actor=voice.wav", "--face", "2=voice.wav"], "say with --deliver"),
        (["--face", "ada.actor=voice.wav", "--person", "1"], "--face ACTOR@PERSON=AUDIO"),
        (["--actor", "ada.actor", "--drive", "source", "--deliver", "mix"], "nothing to mix"),
        (["--actor", "ada.actor", "--drive", "source", "--deliver", "gone.wav"], "gone.wav: no such file"),
        (["--actor", "ada.actor", "--drive", "source", "--deliver", "CLIP"], "no sound in it to deliver"),
    ],
)
def test_wrong_input_is_one_line(inputs, tmp_path, capsys, words, message):
    for name, path in inputs.items():
        words = [word.replace(name, path) for word in words]
    out = [] if "--out" in words else ["-o", tmp_path / "out"]
    assert command("dub", inputs["CLIP"], *words, *out) == 1
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


def test_silence_on_purpose_closes_the_mouth_and_keeps_the_sources_sound(inputs, tmp_path):
    words = ["--face", f"{inputs['ada.actor']}=silence", "--range", "0.4-1.1", "--occluders", "ignore"]
    assert command("dub", inputs["CLIP"], *words, "-o", tmp_path / "out") == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["drivers"] == [{"kind": "silence"}] and run["delivered_sounds"] == []
    dubbed = Footage(next((tmp_path / "out").glob("*.dubbed.mp4")))
    track, meter = Track.load(inputs["TRACK"]).with_crop_size(CROP_SIZE), MouthMeter()
    seen = {}
    for name, footage in (("source", Footage(inputs["CLIP"])), ("dubbed", dubbed)):
        crops = read_crops(footage, track, list(range(16, 22))).float() / 255
        seen[name] = meter.openings(crops)
    assert seen["dubbed"].max() < 0.05 and seen["dubbed"].std() < 0.2 * seen["source"].std()


def test_one_who_speaks_beside_one_who_is_silent_needs_no_choice_of_sound():
    config = DubConfig("shot.mp4", out="out", face=["ada.actor=voice.wav", "2=silence"])
    requests = requests_of(config)
    assert requests == [Request(Sound(Path("voice.wav")), Path("ada.actor")), Request(Silence(), person=2)]
    refuse_undeliverable(requests, options_of(config))


@pytest.mark.parametrize(
    ("word", "driver"),
    [
        ("source", OwnMotion()),
        ("silence", Silence()),
        ("1.track.safetensors", TrackFile(Path("1.track.safetensors"))),
        ("reading.mp4", Video(Path("reading.mp4"))),
    ],
)
def test_what_a_word_of_drive_means(word, driver):
    assert requests_of(DubConfig("shot.mp4", drive=word, out="out")) == [Request(driver)]


def test_the_command_that_chooses_is_printed_whole():
    config = DubConfig("my shot.mp4", "voice.wav", out="out", range="1-2", grain=True, face=[])
    line = command_line("dub", config)
    assert line == "adapt dub 'my shot.mp4' voice.wav -o out --range 1-2 --grain"


def test_draft_and_offsets_reach_the_dub(talking_clip, tmp_path):
    footage = Footage(talking_clip[0])
    config = DubConfig("shot.mp4", "voice.wav", out="out", draft=True, grain=True, range="0.5-1.2", audio_offset=0.5)
    options = options_of(config)
    assert options.quality == "draft" and not options.grain
    assert options.fit_steps == DRAFT_FIT_STEPS < DubConfig.fit_steps

    def sound_of(config):
        return delivered(requests_of(config), options_of(config), footage, tmp_path)

    assert sound_of(config) == DeliveredSound([Path("voice.wav")], 1.0, None)
    assert sound_of(replace(config, deliver="source")) is None
    trimmed = replace(config, on_mismatch="trim")
    assert sound_of(trimmed).end_seconds == 1.2
    assert sound_of(replace(trimmed, range=None)).end_seconds == pytest.approx(1.6)


def test_a_video_that_drives_is_heard_unless_told_otherwise(talking_clip, tmp_path):
    footage = Footage(talking_clip[0])
    reading = make_clip(tmp_path / "reading.mp4", sounds=[MadeSound()])
    for drive, deliver, heard in (
        (str(reading), None, [reading]),
        (str(reading), "source", None),
        (str(talking_clip[0]), None, None),
        ("source", None, None),
        (str(tmp_path / "1.track.safetensors"), None, None),
    ):
        config = DubConfig("shot.mp4", actor="ada.actor", drive=drive, deliver=deliver, out="out")
        sound = delivered(requests_of(config), options_of(config), footage, tmp_path)
        assert (None if sound is None else list(sound.files)) == heard


def test_a_late_range_is_what_report_and_sheet_show(inputs):
    track = Track.load(inputs["TRACK"])
    part = SimpleNamespace(track=track, driven=torch.zeros(len(track), dtype=torch.bool))
    part.driven[30:] = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adapt.dubbing.report.MOST_SHOWN", 20)
        patch.setattr("adapt.dubbing.report.LEAD_FRAMES", 5)
        recorder = Recorder(part)
        patched = Patch(np.ones((8, 8, 3), np.float32), np.ones((8, 8), np.float32), track.crop_from_image[0].numpy())
        for frame in Footage(inputs["CLIP"]).frames():
            recorder(frame, [patched] if frame.index >= 30 else [])
    assert recorder.frames == list(range(25, 40))
    assert all(index >= 30 for _, index, _, _ in recorder.worst())


def test_trimmed_sound_ends_with_the_picture(inputs, tmp_path):
    long = make_sound(tmp_path / "long.wav", MadeSound("pcm_s16le", layout="mono", seconds=4.0))
    words = ["--face", f"{inputs['ada.actor']}={long}", "--on-mismatch", "trim", "--occluders", "ignore"]
    assert command("dub", inputs["CLIP"], *words, "--range", "0.4-1.1", "-o", tmp_path / "out") == 0
    dubbed = Footage(next((tmp_path / "out").glob("*.dubbed.mp4")))
    (sound,) = dubbed.audio
    assert sound.start == pytest.approx(0.4, abs=0.05)
    assert sound.start + sound.duration == pytest.approx(1.1, abs=0.12), "to the packet"


def test_a_mix_is_the_sum(tmp_path):
    long = make_sound(tmp_path / "long.wav", MadeSound("pcm_s16le", rate=44100, layout="mono", seconds=0.5))
    short = make_sound(tmp_path / "short.wav", MadeSound("pcm_s16le", rate=48000, layout="mono", seconds=0.25))
    mix_sounds([long, short], tmp_path / "mix.wav")
    mixed, alone = read_waveform(tmp_path / "mix.wav"), read_waveform(long)
    assert len(mixed) == pytest.approx(len(alone), abs=16)
    half = len(alone) // 2
    both, one = (np.sqrt(np.mean(mixed[part] ** 2)) for part in (slice(200, half - 400), slice(half + 400, -400)))
    assert both == pytest.approx(2 * one, rel=0.02)


def test_descriptions_of_one_person_are_alike(ada):
    assert log_odds(ada.appearance, ada.appearance) > 5
    flipped = {name: value.flip(0) for name, value in ada.appearance.items()}
    assert log_odds(ada.appearance, flipped) < -1.5


def test_a_bundle_keeps_what_the_actor_looks_like(ada, tmp_path):
    ada.save(tmp_path / "ada.actor")
    kept = ActorBundle.load(tmp_path / "ada.actor").appearance
    assert torch.allclose(kept["patterns"], ada.appearance["patterns"], atol=1e-3)
