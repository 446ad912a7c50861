import json
import shutil

import numpy as np
import pytest

from adapt.actor.bundle import ActorBundle
from adapt.cli import main
from adapt.fitting.fit import fit
from adapt.fitting.optimiser import take_step
from adapt.reports.clip import encode_clip
from prior.renderer.prior import load_renderer_prior
from render.errors import FitError
from render.video.reader import Footage


def command(*words):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return stopped.value.code


def test_the_command_writes_a_bundle_and_refuses_to_replace_it(talking_clip, tmp_path, capsys):
    consent = tmp_path / "consent.json"
    consent.write_text('{"who": "Ada", "scope": "tests"}')
    out = tmp_path / "ada.actor"
    words = ["fit", talking_clip[0], "-o", out, "--steps", 1, "--consent", consent]
    assert command(*words, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    result = next(line for line in lines if line["event"] == "result")
    assert result["steps"] == 1 and result["scores"]
    bundle = ActorBundle.load(out, load_renderer_prior().sha256)
    assert bundle.consent == "who: Ada; scope: tests"
    assert bundle.sources[0]["file"] == talking_clip[0].name
    assert {"sheet.jpg", "report.html", "config.json"} <= {path.name for path in out.iterdir()}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,iVBORw0KGgo") == 1, "the curve of the loss"
    size = sum(path.stat().st_size for path in out.iterdir())
    assert (out / "actor.safetensors").stat().st_size < 6e6 and size < 8e6
    assert not list(tmp_path.glob(".*")), "no checkpoint or half-written folder is left"
    assert command(*words) == 1
    assert "exists already" in capsys.readouterr().err
    assert command(*words, "--resume") == 0
    assert "ada.actor: fitted already" in capsys.readouterr().out
    consent.write_text('{"who": "Ada", "scope": "all"}')
    assert command(*words, "--resume") == 1, "another consent"
    assert "exists already" in capsys.readouterr().err
    assert command(*words, "--resume", "--range", "0-1") == 1
    assert "exists already" in capsys.readouterr().err, "made with other settings"


def test_a_range_that_goes_beyond_the_end_is_told(talking_clip, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["fit", talking_clip[0], "--steps", 1, "-o"]
    assert command(*words, "ada.actor", "--range", "0.2-60") == 0
    assert "--range 0.2-60 goes beyond its end at 0:00:01.600" in capsys.readouterr().out
    assert command(*words, "eve.actor", "--range", "0.2-1.6") == 0
    assert "beyond" not in capsys.readouterr().out


def test_an_interrupted_fit_says_how_to_go_on_and_ends_in_the_same_bundle(talking_clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("adapt.fitting.optimiser.CHECKPOINT_EVERY", 1)
    for folder in ("whole", "resumed"):
        (tmp_path / folder).mkdir()
    words = ["fit", talking_clip[0], "-o", "ada.actor", "--steps", 3]
    monkeypatch.chdir(tmp_path / "whole")
    assert command(*words) == 0

    def interrupted(*arguments):
        if arguments[1].step == 2:
            raise KeyboardInterrupt
        return take_step(*arguments)

    monkeypatch.chdir(tmp_path / "resumed")
    monkeypatch.setattr("adapt.fitting.optimiser.take_step", interrupted)
    assert command(*words) == 130
    assert "--resume goes on" in capsys.readouterr().out
    assert [path.name for path in tmp_path.joinpath("resumed").iterdir()] == [".ada.actor.checkpoint"]
    monkeypatch.setattr("adapt.fitting.optimiser.take_step", take_step)
    shutil.copytree(tmp_path / "resumed", tmp_path / "early")
    assert command(*words[:2], "--range", "0.2-1.6", *words[2:], "--resume") == 1
    assert "of another fit" in capsys.readouterr().err
    assert command(*words, "--resume") == 0
    one, other = (tmp_path / folder / "ada.actor" for folder in ("whole", "resumed"))
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name
    monkeypatch.chdir(tmp_path / "early")
    assert command(*words, "--resume", "--minutes", 0) == 0
    assert ActorBundle.load(tmp_path / "early" / "ada.actor").facts.steps == 2
    assert [path.name for path in (tmp_path / "early").iterdir()] == ["ada.actor"]


def test_everyone_in_a_shot_is_fitted_and_who_cannot_be_is_said(talking_clip, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pictures = [frame.rgb for frame in Footage(talking_clip[0]).frames()]
    two = np.stack([np.concatenate([picture, picture[:, ::-1]], 1) for picture in pictures])
    (tmp_path / "two.mp4").write_bytes(encode_clip(two, [index / 25 for index in range(len(two))]))
    words = ["fit", "two.mp4", "-o", "crowd.actor", "--steps", 1]
    assert command(*words) == 1
    assert "choose one: the same command with --person 1" in capsys.readouterr().err

    def first_cannot(footage, name, options, **rest):
        if options.person == 1:
            raise FitError("too small")
        return fit(footage, name, options, **rest)

    monkeypatch.setattr("adapt.commands.fit.fit", first_cannot)
    assert command(*words, "--all") == 1
    told = capsys.readouterr()
    assert "person 1: not fitted: too small" in told.out and "for the reasons above: 1" in told.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crowd.2.actor", "two.mp4"]
    monkeypatch.setattr("adapt.commands.fit.fit", fit)
    assert command(*words, "--all") == 1
    assert "crowd.2.actor: exists already" in capsys.readouterr().err and not (tmp_path / "crowd.1.actor").exists()
    second = (tmp_path / "crowd.2.actor" / "actor.json").stat().st_mtime_ns
    assert command(*words, "--all", "--resume") == 0
    assert "crowd.2.actor: fitted already" in capsys.readouterr().out
    assert (tmp_path / "crowd.2.actor" / "actor.json").stat().st_mtime_ns == second
    people = [ActorBundle.load(tmp_path / f"crowd.{person}.actor").sources[0]["person"] for person in (1, 2)]
    assert people == [1, 2]
    assert command(*words[:-1], 2, "--all", "--resume") == 1
    assert "crowd.1.actor: exists already" in capsys.readouterr().err, "made with other settings"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", 0], "at least 1"),
        (["--seconds", 0.5], "at least 0.9 s"),
        (["--minutes", 0], "more than 0"),
        (["--device", "gpu"], "give cpu or cuda"),
        (["--all", "--person", 1], "leave out --person"),
        (["--all", "--consent", "ada.json"], "one person's"),
        (["--all", "again.mp4"], "takes one file"),
        (["-o", "actor.mp4/ada.actor"], "cannot be written"),
    ],
)
def test_settings_that_mean_nothing_are_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "actor.mp4").write_text("never read")
    code = 1 if "-o" in words else 2
    assert command("fit", "actor.mp4", *(["-o", "ada.actor"] if "-o" not in words else []), *words) == code
    error = capsys.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["actor.mp4"]


@pytest.mark.parametrize(("what", "message"), [("noise", "no face was found"), ("text", "not a video")])
def test_bad_footage_is_one_line(what, message, tmp_path, capsys):
    path = tmp_path / "bad.mp4"
    if what == "text":
        path.write_text("hello " * 50)
    else:
        pictures = np.random.default_rng(0).integers(0, 255, (5, 120, 160, 3), dtype=np.uint8)
        path.write_bytes(encode_clip(pictures, [index / 25 for index in range(5)]))
    assert command("fit", path, "-o", tmp_path / "x.actor") == 1
    error = capsys.readouterr().err.strip()
    assert message in error and len([line for line in error.splitlines() if "adapt:" in line]) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.mp4"]
