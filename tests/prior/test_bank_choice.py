"""Which frames make a bank."""

import pytest
import torch

from prior.face.model import load_face_model
from prior.renderer.bank_choice import (
    bank_frames,
    bank_of,
    medoids,
    opening_and_width,
    sharpness_of,
)
from prior.renderer.prior import load_renderer_prior
from render.drawing.look import BANK_FRAMES
from render.drawing.renderer import Renderer

MODEL = load_face_model()


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return load_renderer_prior().renderer


def test_everything_wanted_has_something_near_it_among_the_medoids():
    places = torch.tensor([0.0, 1, 2, 10, 11, 12, 30])
    distance = (places[:, None] - places).square()
    assert medoids(distance, 3).tolist() == [3, 6, 1], "the nearest to all, what lies alone, the middle of the rest"
    assert medoids(distance[:, [0, 6]], 3).tolist() == [0, 1], "not more than there are"


def test_a_bank_holds_open_and_closed_mouths_and_shows_what_the_frames_show(talking_clip, renderer):
    track = talking_clip[1].with_crop_size(256)
    frames = torch.arange(0, 40, 2)
    like_sharp = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    crops = 0.5 * like_sharp + 0.02 * torch.arange(len(frames))[:, None, None, None]
    chosen, rows = bank_frames(MODEL, renderer, (track, frames[:10], crops[:10]), (track, frames[10:], crops[10:]))
    assert chosen.crops.shape == (1, BANK_FRAMES, 3, 256, 256) and {number for number, _ in rows} == {0, 1}
    opening = opening_and_width(MODEL, track.lower_expression[frames])[:, 0]
    inside = opening_and_width(MODEL, chosen.expression[0])[:, 0]
    assert float(inside.max()) >= float(opening.quantile(0.9)) and float(inside.min()) <= float(opening.quantile(0.1))
    bank = bank_of(MODEL, chosen)
    assert bank.colours.shape == (1, BANK_FRAMES, 3, 256, 256) and 0.1 < float((bank.seen > 0).float().mean()) < 0.9
    number, row = rows[0]
    part = (crops[:10], crops[10:])[number]
    assert torch.equal(chosen.crops[0, 0], part[row])
    few, _ = bank_frames(MODEL, renderer, (track, frames[:3], crops[:3]))
    assert torch.equal(few.crops[0, 3], few.crops[0, 0]), "too few frames repeat the first"


def test_a_blurred_frame_is_not_taken_for_a_bank(talking_clip, renderer):
    track = talking_clip[1].with_crop_size(256)
    frames = torch.arange(0, 40, 2)
    crops = 0.5 + 0.2 * torch.rand(len(frames), 3, 256, 256, generator=torch.Generator().manual_seed(0))
    _, first = bank_frames(MODEL, renderer, (track, frames, crops))
    blurred = first[0][1]
    crops[blurred] = crops[blurred].mean()
    sharpness = sharpness_of(MODEL, track, frames, crops)
    assert float(sharpness[blurred]) == 0 and int((sharpness > 0.05).sum()) == len(frames) - 1
    _, again = bank_frames(MODEL, renderer, (track, frames, crops))
    assert blurred not in {row for _, row in again}
