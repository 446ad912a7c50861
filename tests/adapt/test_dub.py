import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
import torch

from adapt.actor.bundle import ActorBundle
from adapt.cli import main
from adapt.dubbing.dub import dubbed_name
from adapt.dubbing.options import DubOptions
from adapt.dubbing.part import Part
from adapt.dubbing.redraw import redraw
from adapt.dubbing.weights import hand_over
from adapt.reports.clip import encode_clip
from adapt.tracking.kept import track_footage
from render.errors import DubError
from render.video.reader import Footage


def command(*words):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return stopped.value.code


@pytest.fixture(scope="module")
def shot(talking_clip, ada, tmp_path_factory):
    """24 frames of the actor, hidden by a card in 4 of them, as 4:2:0 h264, and the actor's bundle."""
    folder = tmp_path_factory.mktemp("shot")
    frames = [frame.rgb for frame in Footage(talking_clip[0]).frames(0, 24)]
    for index in range(10, 14):
        frames[index] = frames[index].copy()
        frames[index][80:270, 90:240] = (150, 120, 105)
    path = folder / "shot.mp4"
    # 24 frames at 23.976 per second with one long frame: times must come out as they went in.
    times = [index * 1001 / 24000 + (0.1 if index > 17 else 0.0) for index in range(24)]
    path.write_bytes(encode_clip(frames, times))
    ada.save(folder / "ada.actor")
    return path, folder / "ada.actor"


@pytest.fixture(scope="module")
def part(shot):
    """The actor in the shot, moved by the shot's own motion, five frames late."""
    track = track_footage(Footage(shot[0]), None, "adapt track")
    bundle = ActorBundle.load(shot[1])
    expression = track.lower_expression.roll(5, 0)
    return Part(bundle, track, expression, torch.ones(len(track), dtype=torch.bool))


def test_the_blend_ramps_beside_a_gap_within_a_shot(part):
    whole = replace(part, track=replace(part.track, shot=torch.zeros(24, dtype=torch.int32)))
    weights = hand_over(whole).weight
    assert float(weights[11]) == 0
    assert 0 < float(weights[9]) < float(weights[8]) <= 1
    assert float(weights[0]) == 1


def test_a_shot_without_the_actor_is_refused(shot, part, tmp_path):
    nobody = Part(part.bundle, part.track, part.expression, torch.zeros(24, dtype=torch.bool))
    with pytest.raises(DubError, match="in no frame can the chosen person be dubbed"):
        redraw(Footage(shot[0]), [nobody], tmp_path / "x.mp4")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_folder_and_an_interrupt_leaves_nothing(shot, tmp_path, monkeypatch, capsys):
    path, actor = shot
    out = tmp_path / "out"
    words = ["dub", path, "--actor", actor, "--drive", "source", "-o", out]
    monkeypatch.setattr("adapt.dubbing.dub.quality_facts", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert command(*words) == 130
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    assert command(*words) == 0
    assert {"shot.dubbed.mp4", "report.html", "sheet.jpg", "qc.json", "run.json"} == {p.name for p in out.iterdir()}
    quality = json.loads((out / "qc.json").read_text())
    assert quality["frames"] == 24 and quality["not_dubbed"][0]["frames"][0] <= 10
    with av.open(str(out / "shot.dubbed.mp4")) as container:
        assert container.metadata["comment"].startswith("altered video")
    run = json.loads((out / "run.json").read_text())
    assert run["actors"][0]["consent"] == "consent: not recorded"
    assert run["computed_on"]["threads"] == torch.get_num_threads() and run["computed_on"]["device"] == "cpu"
    capsys.readouterr()
    assert command(*words) == 1
    assert "exists already" in capsys.readouterr().err
    (out / "report.html").unlink()
    assert command(*words, "--overwrite") == 0 and (out / "report.html").is_file()
    (tmp_path / "mine").mkdir()
    assert command(*words[:-1], tmp_path / "mine", "--overwrite") == 1
    assert "is no dub" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "codec", "name"),
    [
        ("take.m4v", "prores", "take.dubbed.mov"),
        ("take.MP4", "prores", "take.dubbed.mov"),
        ("take.m4v", "h264", "take.dubbed.m4v"),
        ("take.mkv", "prores", "take.dubbed.mkv"),
        ("take.webm", "h264", "take.dubbed.mp4"),
        ("é" * 120 + ".mkv", "h264", "é" * 100 + ".dubbed.mkv"),
    ],
)
def test_the_dub_is_named_after_its_source_in_a_container_that_holds_the_codec(source, codec, name):
    assert dubbed_name(SimpleNamespace(path=Path(source)), DubOptions(codec=codec)) == name
