from dataclasses import replace

import pytest
import torch

from adapt.fitting.fit import draw_clip, fit, limit, without_occluders
from adapt.fitting.optimiser import chosen_part, frame_of_step, optimise, take_step
from adapt.fitting.options import FitOptions
from adapt.fitting.state import Checkpoint, FitState
from adapt.progress import Bar
from prior.renderer.prior import load_renderer_prior
from render.compositing.matte import put_back
from render.errors import FitError, StoreError

DEVICES = ("cpu", "cuda")
FOUR = FitOptions(steps=4, seed=3)


def test_a_fit_draws_a_mouth_where_there_was_a_hole(fitted):
    """The worst that could be drawn is mid grey: held-out frames must be far nearer to the real ones than that."""
    prior, clip = load_renderer_prior(), fitted.clips[0]
    rows = clip.held_out[:4]
    drawn = draw_clip(prior, fitted.unadapted.look, {}, clip, rows)
    real = clip.crops[rows].float() / 255
    error = ((drawn.rgb - real).abs() * drawn.erased).sum()
    grey = ((0.5 - real).abs() * drawn.erased).sum()
    assert float(error) < 0.5 * float(grey)
    assert float((put_back(drawn, real) - real).abs().mul(1 - drawn.erased).max()) == 0


def test_a_part_that_shows_nothing_is_refused_before_anything_is_looked_for(talking_clip, monkeypatch):
    path, track = talking_clip
    monkeypatch.setattr("adapt.fitting.fit.track_footage", lambda *_: pytest.fail("looked for a face"))
    with pytest.raises(FitError, match=rf"--range 40-44: outside {path.name}, which is 1.60 s long"):
        fit([path], "Ada", FitOptions(part=(40.0, 44.0)))
    with pytest.raises(FitError, match="--range 0.001-0.002: no frame of .* lies in it"):
        limit(track, (0.001, 0.002))


def test_same_steps_same_state_and_a_resumed_fit_too(fitted, tmp_path, monkeypatch):
    prior, clips = load_renderer_prior(), fitted.clips
    monkeypatch.setattr("adapt.fitting.optimiser.CHECKPOINT_EVERY", 2)
    monkeypatch.setattr("adapt.fitting.optimiser.JUDGE_EVERY", 1)
    monkeypatch.setattr("adapt.fitting.optimiser.REPLAY_EVERY", 2)
    monkeypatch.setattr("adapt.fitting.optimiser.REPLAYED", 1)  # made before the break, and anew after it
    monkeypatch.setattr("adapt.fitting.clip.KEPT_INPUTS", 1)
    whole = optimise(prior, clips, fitted.unadapted, FOUR)
    checkpoint = Checkpoint(tmp_path / "checkpoint", identity={"fit": 1})

    class Killed(Exception):
        pass

    def killed(*arguments):
        if arguments[1].step == 3:
            raise Killed
        return take_step(*arguments)

    monkeypatch.setattr("adapt.fitting.optimiser.take_step", killed)
    with pytest.raises(Killed):
        optimise(prior, clips, fitted.unadapted, FOUR, checkpoint)
    monkeypatch.setattr("adapt.fitting.optimiser.take_step", take_step)
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
    done = []
    # A step takes a second, however often anybody looks at the clock.
    monkeypatch.setattr("adapt.fitting.optimiser.time.monotonic", lambda: float(len(done)))
    monkeypatch.setattr("adapt.fitting.optimiser.held_out_loss", lambda *arguments: 1.0)

    def step(reader, state, part, *_):
        done.append(part)
        state.step += 1

    monkeypatch.setattr("adapt.fitting.optimiser.take_step", step)
    state = optimise(load_renderer_prior(), fitted.clips, fitted.unadapted, FitOptions(steps=100, minutes=4 / 60))
    assert done == [0, 0.25, 0.5, 0.75] and state.history[-1]["step"] == state.step == 4


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
    assert not torch.equal(state.texture, fitted.unadapted.look.texture)
    assert any(bool(value.any()) for name, value in state.delta.items() if name.endswith(".left"))


@pytest.mark.parametrize(("judged", "kept"), [(0.9, True), (1.005, True), (1.03, False)])
def test_a_fit_is_kept_unless_it_draws_held_out_frames_worse(fitted, judged, kept, monkeypatch):
    losses = iter([1.0, judged])
    monkeypatch.setattr("adapt.fitting.optimiser.held_out_loss", lambda *arguments: next(losses, 2.0))
    state = optimise(load_renderer_prior(), fitted.clips, fitted.unadapted, FitOptions(steps=1))
    assert bool(state.best) == kept
    if kept:
        assert state.best_loss == judged and torch.equal(state.best["texture"], state.texture)


@pytest.mark.parametrize(("blends", "part"), [((0.905,), 0.7), ((0.95, 0.92), 0.85), ((0.95, 1.02), 1.0)])
def test_some_of_the_way_is_gone_back_and_more_where_it_costs_nothing(blends, part):
    losses = iter(blends)
    loss = blends[-1] if part < 1 else 0.9
    assert chosen_part(lambda part: next(losses), best_loss=0.9, unadapted_loss=1.0) == (part, loss)


@pytest.mark.parametrize("part", [0.7, 0.85, 1.0])
def test_a_part_of_the_way_scales_the_texture_and_one_factor_of_a_product(fitted, part, monkeypatch):
    losses = iter([1.0, 0.9])
    monkeypatch.setattr("adapt.fitting.optimiser.held_out_loss", lambda *arguments: next(losses))
    monkeypatch.setattr("adapt.fitting.optimiser.chosen_part", lambda *arguments: (part, 0.5))
    state = optimise(load_renderer_prior(), fitted.clips, fitted.unadapted, FitOptions(steps=1))
    assert state.best_loss == 0.5
    torch.testing.assert_close(state.best["texture"], torch.lerp(fitted.unadapted.look.texture, state.texture, part))
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


def test_what_was_left_out_does_not_count_as_seen(talking_clip, fitted, monkeypatch):
    path, take = talking_clip
    yaw = take.rotation[:, 1]
    covered = yaw < yaw.quantile(0.2)
    monkeypatch.setattr("adapt.fitting.fit.clear_frames", lambda model, track, frames, crops: ~covered[frames])
    bundle = fit([path], "Ada", FitOptions(steps=0), tracks=[take]).bundle
    learn = fitted.clips[0].frames[fitted.clips[0].learn]
    left = len(learn) - int(covered[learn].sum())
    assert bundle.sources[0]["frames"] == left < len(learn)
    assert bundle.facts.seconds == pytest.approx(left / 25, abs=1e-3)
    assert bundle.pose_range["yaw"][0] > fitted.bundle.pose_range["yaw"][0]


def test_several_files_are_learnt_from_or_the_frames_of_one_that_show_most(talking_clip):
    path, take = talking_clip
    fitted = fit([path, path], "Ada", FitOptions(steps=0), tracks=[take, take])
    assert [source["frames"] for source in fitted.bundle.sources] == [len(clip.learn) for clip in fitted.clips]
    assert len(fitted.clips) == 2 and all(len(clip.held_out) for clip in fitted.clips)
    best = fit([path], "Ada", FitOptions(seconds=1.0, steps=0), tracks=[take])
    assert best.bundle.facts.seconds == pytest.approx(0.9, abs=0.1)
    assert len(best.clips[0].learn) < len(fitted.clips[0].learn)
