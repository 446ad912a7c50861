from dataclasses import fields

import pytest
import torch

from adapt.dubbing.plan import FIT_BYTES
from adapt.fitting.clip import FrameReader
from adapt.fitting.optimiser import optimise, take_step
from adapt.fitting.options import FitOptions
from adapt.fitting.replay import Replay, unseen_expression
from adapt.fitting.state import FitState
from prior.renderer.losses import renderer_loss
from prior.renderer.prior import load_renderer_prior
from render.drawing.look import Look
from render.drawing.renderer import WINDOW_CENTRE, draw_trainable


@pytest.fixture(scope="module")
def reader(fitted):
    return FrameReader(load_renderer_prior(), fitted.clips, fitted.unadapted)


def test_an_unseen_expression_goes_most_of_the_way_to_what_the_footage_never_showed():
    own, smile = torch.zeros(3), torch.tensor([4.0, 0.0, 0.0])
    extremes = torch.stack([torch.tensor([0.0, 0.0, 90.0]), own, smile, smile])  # the last axis tells nothing apart
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        unseen = unseen_expression(own, own[None], extremes, torch.full((3,), 1e-3), 2, generator)
        assert 0.6 * 4 - 0.01 < float(unseen[0]) < 4 + 0.01
        assert float(unseen[1:].abs().max()) < 0.01


def test_no_mouth_opens_all_of_the_way_to_the_widest():
    own, widest = torch.zeros(2), torch.tensor([10.0, 0.0])
    extremes = torch.stack([own, widest, own, own])
    generator = torch.Generator().manual_seed(1)
    unseen = [unseen_expression(own, own[None], extremes, torch.full((2,), 1e-3), 2, generator) for _ in range(20)]
    reached = [float(end[0]) for end in unseen if end[0] > 1]
    assert len(reached) > 10 and 7.0 < max(reached) < 8.01 and min(reached) > 4.79


def test_what_is_nearest_to_the_footage_is_not_taken():
    """Where footage shows the way to two of the extremes, it is another's."""
    generator = torch.Generator().manual_seed(1)
    own, shown, other = torch.zeros(2), torch.tensor([5.0, 0.0]), torch.tensor([0.0, 5.0])
    learnt = torch.linspace(0, 1, 50)[:, None] * shown
    extremes = torch.stack([shown, shown, other, other])
    unseen = [unseen_expression(own, learnt, extremes, torch.full((2,), 1e-2), 2, generator) for _ in range(8)]
    assert all(float(end[1]) > 2.9 and float(end[0]) < 0.1 for end in unseen)


def test_a_replayed_picture_is_the_priors_and_leaves_the_unadapted_look_nothing_to_learn(reader, fitted):
    row = int(fitted.clips[0].learn[0])
    inputs, bank = Replay(reader, 5).read(0, 0, row), reader.bank(0, row)
    own = reader.read(0, row)
    outside = (inputs.erased == 0).expand_as(inputs.crop)
    assert torch.equal(inputs.crop[outside], own.crop[outside])
    with torch.no_grad():
        terms = renderer_loss(
            draw_trainable(reader.renderer, Look(fitted.unadapted.look.texture, bank), inputs), inputs
        )
    assert float(terms["colour"]) == float(terms["texture"]) == 0
    scale = reader.renderer.expression_scale
    moved = (inputs.window[0, WINDOW_CENTRE] - own.window[0, WINDOW_CENTRE]) / scale
    assert float(moved[: reader.renderer.expression_axes].norm()) > 1


def test_a_picture_is_made_once_and_the_same_again_by_another(reader, fitted):
    learn = fitted.clips[0].learn
    replay = Replay(reader, 5)
    first = replay.read(3, 0, int(learn[2]))
    assert replay.read(3, 0, int(learn[0])) is first
    again = Replay(reader, 5).read(3, 0, int(learn[2]))
    names = [item.name for item in fields(first) if item.name != "buffer"]
    assert all(torch.equal(getattr(first, name), getattr(again, name)) for name in names)
    other = Replay(reader, 6).read(3, 0, int(learn[2]))
    assert not torch.equal(first.window, other.window)


def test_what_is_kept_of_a_picture_takes_no_more_memory_than_a_plan_tells(reader, fitted):
    """A bank of its own would be five times as much."""
    replay, held = Replay(reader, 5), []
    replay.read(0, 0, int(fitted.clips[0].learn[0]))
    waiting = [replay._kept[0]]
    while waiting:
        one = waiting.pop()
        if isinstance(one, torch.Tensor):
            held.append(one.untyped_storage().nbytes())
        else:
            waiting += one if isinstance(one, tuple) else vars(one).values()
    assert 1e6 < sum(held) <= FIT_BYTES


def test_one_step_in_so_many_replays(reader, fitted, monkeypatch):
    monkeypatch.setattr("adapt.fitting.optimiser.REPLAY_EVERY", 2)
    monkeypatch.setattr("adapt.fitting.optimiser.REPLAYED", 2)
    replay, asked = Replay(reader, 0), []
    read = replay.read
    monkeypatch.setattr(replay, "read", lambda index, *place: asked.append(index) or read(index, *place))
    state = FitState(fitted.unadapted.look.texture.clone(), {})
    for _ in range(6):
        take_step(reader, state, 0.0, 0, replay)
    assert asked == [0, 1, 0]


def test_a_fit_replays_and_what_is_replayed_counts_by_its_weight(fitted, monkeypatch):
    monkeypatch.setattr("adapt.fitting.optimiser.REPLAY_EVERY", 1)
    monkeypatch.setattr("adapt.fitting.optimiser.REPLAY_WEIGHT", 0.0)
    read, asked = Replay.read, []
    monkeypatch.setattr(Replay, "read", lambda self, index, *place: asked.append(index) or read(self, index, *place))
    state = optimise(load_renderer_prior(), fitted.clips, fitted.unadapted, FitOptions(steps=2))
    assert asked == [0, 1] and torch.equal(state.texture, fitted.unadapted.look.texture)
