"""Which frames make a bank."""

import torch

from prior.face.model import load_face_model
from prior.renderer.bank_choice import bank_frames, bank_of, describe_mouths, opening_and_width, spread_out
from render.drawing.look import BANK_FRAMES

MODEL = load_face_model()


def test_chosen_frames_differ_and_of_like_ones_the_sharp_one_is_taken():
    corners = torch.tensor([[0.0, 0], [4, 0], [0, 4], [4, 4]]).repeat_interleave(3, 0)
    sharpness = torch.tensor([1.0, 3, 2]).repeat(4)
    rows = spread_out(corners, sharpness, 4)
    assert sorted(int(row) // 3 for row in rows) == [0, 1, 2, 3], "one of each kind"
    assert all(int(row) % 3 == 1 for row in rows), "the sharpest of each"
    assert len(spread_out(corners[:2], sharpness[:2], 8)) == 2


def test_a_bank_holds_the_most_open_mouth_and_shows_what_the_frames_show(talking_clip):
    track = talking_clip[1].with_crop_size(256)
    frames = torch.arange(0, 40, 2)
    crops = torch.rand(len(frames), 3, 256, 256, generator=torch.Generator().manual_seed(0))
    chosen, rows = bank_frames(MODEL, (track, frames[:10], crops[:10]), (track, frames[10:], crops[10:]))
    assert chosen.crops.shape == (1, BANK_FRAMES, 3, 256, 256) and {number for number, _ in rows} == {0, 1}
    opening = opening_and_width(MODEL, track.lower_expression[frames])[:, 0]
    inside = opening_and_width(MODEL, chosen.expression[0])[:, 0]
    assert float(inside.max()) >= float(opening.quantile(0.9)) and float(inside.min()) <= float(opening.quantile(0.1))
    bank = bank_of(MODEL, chosen)
    assert bank.colours.shape == (1, BANK_FRAMES, 3, 256, 256) and 0.1 < float((bank.seen > 0).float().mean()) < 0.9
    number, row = rows[0]
    part = (crops[:10], crops[10:])[number]
    assert torch.equal(chosen.crops[0, 0], part[row])
    few, _ = bank_frames(MODEL, (track, frames[:3], crops[:3]))
    assert torch.equal(few.crops[0, 3], few.crops[0, 0]), "too few frames repeat the first"


def test_a_sharp_frame_and_bright_teeth_are_told_from_the_picture(talking_clip):
    track = talking_clip[1].with_crop_size(256)
    widest = int(track.lower_expression[:, 0].argmax())
    frames = torch.tensor([widest, widest])
    crops = torch.full((2, 3, 256, 256), 0.5)
    crops[1] += 0.2 * torch.rand(256, 256, generator=torch.Generator().manual_seed(0))
    description, sharpness = describe_mouths(MODEL, track, frames, crops)
    assert description.shape == (2, 5) and float(sharpness[1]) > float(sharpness[0])
    assert float(description[0, 2]) > 0 == float(description[0, 3]), "as bright as skin is no cavity"
