import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from adapt.actor.bundle import ActorBundle
from adapt.cli import main
from adapt.fitting.fit import draw_clip, fit, without_occluders
from adapt.fitting.optimiser import frame_of_step, optimise
from adapt.fitting.options import FitOptions
from adapt.fitting.state import Checkpoint, FitState
from adapt.progress import Bar
from adapt.reports.clip import encode_clip
from prior.renderer.prior import load_renderer_prior
from render.compositing.matte import put_back
from render.errors import FitError, StoreError
from render.video.reader import Footage

DEVICES = ("cpu", "cuda")
FOUR = FitOptions(steps=4, seed=3)


def command(*words):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return stopped.value.code


@pytest.fixture(scope="module")
def fitted(talking_clip):
    return fit([talking_clip[0]], "Ada", FitOptions(steps=2))


def test_a_fit_draws_a_mouth_where_there_was_a_hole(fitted):
    """The worst that could be drawn is mid grey: held-out frames must be far nearer to the real ones than that."""
    prior, clip = load_renderer_prior(), fitted.clips[0]
    rows = clip.held_out[:4]
    drawn = draw_clip(prior, fitted.unadapted, {}, clip, rows)
    real = clip.crops[rows].float() / 255
    error = ((drawn.rgb - real).abs() * drawn.erased).sum()
    grey = ((0.5 - real).abs() * drawn.erased).sum()
    assert float(error) < 0.5 * float(grey)
    assert float((put_back(drawn, real) - real).abs().mul(1 - drawn.erased).max()) == 0


def test_same_steps_same_state_and_a_resumed_fit_too(fitted, tmp_path, monkeypatch):
    prior, clips = load_renderer_prior(), fitted.clips
    monkeypatch.setattr("adapt.fitting.optimiser.CHECKPOINT_EVERY", 2)
    monkeypatch.setattr("adapt.fitting.optimiser.JUDGE_EVERY", 1)
    monkeypatch.setattr("adapt.fitting.clip.KEPT_INPUTS", 1)
    whole = optimise(prior, clips, fitted.unadapted, FOUR)
    checkpoint = Checkpoint(tmp_path / "checkpoint", identity={"fit": 1})

    class Killed(Exception):
        pass

    def killed(*arguments):
        if arguments[1].step == 3:
            raise Killed
        return step(*arguments)

    from adapt.fitting import optimiser as module

    step = module._step
    monkeypatch.setattr(module, "_step", killed)
    with pytest.raises(Killed):
        optimise(prior, clips, fitted.unadapted, FOUR, checkpoint)
    monkeypatch.setattr(module, "_step", step)
    resumed = optimise(prior, clips, fitted.unadapted, FOUR, replace(checkpoint, resume=True))
    assert resumed.step == whole.step == 4
    assert resumed.history == whole.history and resumed.best_loss == whole.best_loss
    for named in ("parameters", "best", "moments"):
        assert getattr(whole, named).keys() == getattr(resumed, named).keys()
        for name, value in getattr(whole, named).items():
            assert torch.equal(value, getattr(resumed, named)[name]), name
    with pytest.raises(StoreError, match="of another fit"):
        FitState.load(replace(checkpoint, identity={"fit": 2}))


def test_a_budget_of_time_ends_a_fit_and_its_steps_grow_smaller(fitted, monkeypatch):
    done, now = [], iter(range(100))
    monkeypatch.setattr("adapt.fitting.optimiser.time.monotonic", lambda: next(now))
    monkeypatch.setattr("adapt.fitting.optimiser._judge", lambda *arguments: 1.0)

    def step(reader, state, part, seed):
        done.append(part)
        state.step += 1

    monkeypatch.setattr("adapt.fitting.optimiser._step", step)
    state = optimise(load_renderer_prior(), fitted.clips, fitted.unadapted, FitOptions(steps=100, minutes=4 / 60))
    assert done == [0.25, 0.5, 0.75] and state.history[-1]["step"] == state.step == 3


@pytest.mark.cuda
def test_a_gpu_learns_the_same_but_for_rounding(fitted):
    on = {
        device: optimise(load_renderer_prior(), fitted.clips, fitted.unadapted, FitOptions(steps=3, device=device))
        for device in DEVICES
    }
    assert all(value.device.type == "cpu" for value in on["cuda"].parameters.values())
    assert on["cuda"].unadapted_loss == pytest.approx(on["cpu"].unadapted_loss, rel=0.02)
    torch.testing.assert_close(on["cuda"].texture, on["cpu"].texture, atol=0.02, rtol=0)


def test_the_first_step_moves_the_texture_and_the_delta(fitted):
    state = optimise(load_renderer_prior(), fitted.clips, fitted.unadapted, FitOptions(steps=1))
    assert not torch.equal(state.texture, fitted.unadapted)
    assert any(bool(value.any()) for name, value in state.delta.items() if name.endswith(".left"))


@pytest.mark.parametrize(("judged", "kept"), [(0.9, True), (1.005, True), (1.03, False)])
def test_a_fit_is_kept_unless_it_draws_held_out_frames_worse(fitted, judged, kept, monkeypatch):
    losses = iter([1.0, judged])
    monkeypatch.setattr("adapt.fitting.optimiser._judge", lambda *arguments: next(losses, 2.0))
    state = optimise(load_renderer_prior(), fitted.clips, fitted.unadapted, FitOptions(steps=1))
    assert bool(state.best) == kept
    if kept:
        assert state.best_loss == judged and torch.equal(state.best["texture"], state.texture)


@pytest.mark.parametrize(("blends", "part"), [((0.905,), 0.7), ((0.95, 0.92), 0.85), ((0.95, 1.02), 1.0)])
def test_some_of_the_way_is_gone_back_and_more_where_it_costs_nothing(fitted, blends, part, monkeypatch):
    losses = iter([1.0, 0.9, *blends])
    monkeypatch.setattr("adapt.fitting.optimiser._judge", lambda *arguments: next(losses))
    state = optimise(load_renderer_prior(), fitted.clips, fitted.unadapted, FitOptions(steps=1))
    assert state.best_loss == (blends[-1] if part < 1 else 0.9)
    torch.testing.assert_close(state.best["texture"], torch.lerp(fitted.unadapted, state.texture, part))
    for name, value in state.delta.items():
        torch.testing.assert_close(state.best[name], value if name.endswith(".right") else part * value)


@pytest.mark.parametrize("seed", [0, 7])
def test_steps_spread_evenly_over_the_frames_of_all_clips(seed):
    counts = [30, 7, 63]
    visits = torch.zeros(sum(counts))
    for step in range(400):
        number, place = frame_of_step(counts, seed, step)
        assert 0 <= place < counts[number]
        visits[sum(counts[:number]) + place] += 1
    assert visits.min() >= 3 and visits.max() <= 5
    assert frame_of_step(counts, seed, 5) != frame_of_step(counts, seed + 1, 5)


@pytest.mark.parametrize(
    ("covered", "kept", "said"), [(0, 1.0, ""), (0.2, 0.8, "left out"), (0.8, 1.0, "choose footage")]
)
def test_frames_with_a_covered_mouth_are_left_out_and_it_is_said(fitted, covered, kept, said, monkeypatch, capsys):
    clip = fitted.clips[0]
    count, judged = len(clip.learn), len(clip.held_out)
    clear = torch.cat([torch.arange(count) >= round(covered * count), torch.arange(judged) != 0])
    monkeypatch.setattr("adapt.fitting.fit.clear_frames", lambda *arguments: clear | (covered == 0))
    left = without_occluders(load_renderer_prior(), clip, Bar())
    assert len(left.learn) == count - round((1 - kept) * count)
    assert len(left.held_out) == judged - (0 < covered and kept < 1)
    message = capsys.readouterr().out
    assert said in message and (clip.track.source["file"] in message if said else not message)


def test_what_was_left_out_does_not_count_as_seen(talking_clip, monkeypatch):
    path, take = talking_clip
    whole = fit([path], "Ada", FitOptions(steps=0), tracks=[take])
    yaw = take.rotation[:, 1]
    covered = yaw < yaw.quantile(0.2)
    monkeypatch.setattr("adapt.fitting.fit.clear_frames", lambda model, track, frames, crops: ~covered[frames])
    bundle = fit([path], "Ada", FitOptions(steps=0), tracks=[take]).bundle
    learn = whole.clips[0].frames[whole.clips[0].learn]
    left = len(learn) - int(covered[learn].sum())
    assert bundle.sources[0]["frames"] == left < len(learn)
    assert bundle.facts.seconds == pytest.approx(left / 25, abs=1e-3)
    assert bundle.pose_range["yaw"][0] > whole.bundle.pose_range["yaw"][0]


def test_several_files_are_learnt_from_or_the_frames_of_one_that_show_most(talking_clip):
    path, take = talking_clip
    fitted = fit([path, path], "Ada", FitOptions(steps=0), tracks=[take, take])
    assert [source["frames"] for source in fitted.bundle.sources] == [len(clip.learn) for clip in fitted.clips]
    assert len(fitted.clips) == 2 and all(len(clip.held_out) for clip in fitted.clips)
    best = fit([path], "Ada", FitOptions(seconds=1.0, steps=0), tracks=[take])
    assert best.bundle.facts.seconds == pytest.approx(0.9, abs=0.1)
    assert len(best.clips[0].learn) < len(fitted.clips[0].learn)


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


def test_an_interrupted_fit_says_how_to_go_on_and_ends_in_the_same_bundle(talking_clip, tmp_path, monkeypatch, capsys):
    from adapt.fitting import optimiser as module

    monkeypatch.setattr(module, "CHECKPOINT_EVERY", 1)
    for folder in ("whole", "resumed"):
        (tmp_path / folder).mkdir()
    words = ["fit", talking_clip[0], "-o", "ada.actor", "--steps", 3]
    monkeypatch.chdir(tmp_path / "whole")
    assert command(*words) == 0

    def interrupted(*arguments):
        if arguments[1].step == 2:
            raise KeyboardInterrupt
        return step(*arguments)

    step = module._step
    monkeypatch.chdir(tmp_path / "resumed")
    monkeypatch.setattr(module, "_step", interrupted)
    assert command(*words) == 130
    assert "--resume goes on" in capsys.readouterr().out
    assert [path.name for path in tmp_path.joinpath("resumed").iterdir()] == [".ada.actor.checkpoint"]
    monkeypatch.setattr(module, "_step", step)
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
    assert command("fit", "actor.mp4", *(["-o", "ada.actor"] if "-o" not in words else []), *words) == 1
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
