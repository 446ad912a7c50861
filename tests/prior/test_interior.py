"""How much of what lies between lips frames of a bank show."""

import math
from dataclasses import replace

import pytest
import torch

from prior.renderer.interior import ALIKE_VARIANCE, Interior
from prior.renderer.prior import load_renderer_prior
from render.drawing.gbuffer import TEXTURE_SIZE
from render.drawing.look import Bank
from render.drawing.renderer import pitch_and_yaw


@pytest.fixture(scope="module")
def prior():
    return load_renderer_prior()


def bank(track, frame, expression, seen):
    """A bank of two frames at the head pose of a frame: one of that expression, and one that is like nothing."""
    both = torch.stack([expression, expression + 100.0])[None]
    turn = pitch_and_yaw(track, torch.tensor([frame, frame]))[None]
    weights = torch.zeros(1, 2, 1, TEXTURE_SIZE, TEXTURE_SIZE)
    weights[0, 0, 0], weights[0, 1, 0] = seen, 1.0
    return Bank(torch.zeros(1, 2, 3, TEXTURE_SIZE, TEXTURE_SIZE), weights, both, turn)


def test_what_a_frame_of_the_same_mouth_shows_was_seen_and_nothing_else(talking_clip, prior):
    track = talking_clip[1]
    frame = int(track.lower_expression[:, 0].argmax())
    own, chosen = track.lower_expression[frame], torch.tensor([frame])
    left = torch.zeros(TEXTURE_SIZE, TEXTURE_SIZE)
    left[:, : TEXTURE_SIZE // 4] = 1.0  # the left half of the upper sheet, and nothing of the lower one
    shares = {}
    for name, seen in (("all", torch.ones(())), ("nothing", torch.tensor(0.01)), ("left", left)):
        interior = Interior(prior.model, prior.renderer, bank(track, frame, own, seen))
        shares[name] = float(interior.shares(track, track.lower_expression, chosen)[0])
        inside, shown = interior.map(track, frame, own, 256)
        assert shown.shape == inside.shape == (256, 256) and float(shown[~inside].abs().max()) == 0
        assert float(shown[inside].mean()) == pytest.approx(shares[name], abs=0.03), "at any size"
    assert shares["all"] == 1 and shares["nothing"] < 1e-6 and 0.1 < shares["left"] < 0.6
    columns = shown.sum(0).nonzero()[:, 0]
    middle = inside.any(0).nonzero()[:, 0].float().mean()
    assert len(columns) and abs(float(columns.max()) - float(middle)) < 6, "that half, and no more"


def test_a_mouth_counts_less_the_less_alike_it_is(talking_clip, prior):
    track = talking_clip[1]
    frame = int(track.lower_expression[:, 0].argmax())
    own = track.lower_expression[frame]
    other = own.clone()
    other[1] += 2 * prior.renderer.expression_scale[1]
    interior = Interior(prior.model, prior.renderer, bank(track, frame, other, torch.ones(())))
    share = interior.shares(track, track.lower_expression, torch.tensor([frame]))[0]
    assert float(share) == pytest.approx(math.exp(-4 / (2 * ALIKE_VARIANCE)), rel=1e-4)


def test_where_nothing_lies_between_the_lips_there_is_no_share(talking_clip, prior):
    track = replace(talking_clip[1], lower_expression=torch.zeros_like(talking_clip[1].lower_expression))
    interior = Interior(prior.model, prior.renderer, bank(track, 0, track.lower_expression[0], torch.ones(())))
    assert bool(interior.shares(track, track.lower_expression, torch.tensor([0, 3])).isnan().all())
